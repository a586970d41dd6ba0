//! The floor of the benchmark: programs that only redirect, on the interfaces that netpath's would be on, and attached as those are.

use std::{io, mem, os::fd::AsFd as _};

use aya::{
    EbpfLoader,
    programs::{
        Link as _, LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        links::FdLink,
        tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, qdisc_add_clsact},
    },
};
use netpath_common::{CLSACT_PRIORITY, Ifindex, Mac};

use super::{
    AttachMode,
    attach::CLSACT_HANDLE,
    attach_mode,
    error::DatapathError,
    load::{readable, verify},
    sys,
};
use crate::{
    netlink::{Link, Netlink},
    netns::Netns,
};

/// The programs, built from netpath-ebpf by build.rs.
static FLOOR: &[u8] = aya::include_bytes_aligned!(env!("NETPATH_BPF_FLOOR"));

/// Where all IPv4 and IPv6 goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloorTo {
    /// Into the namespace behind this veth.
    Peer(Ifindex),
    /// Out of an interface.
    NextHop {
        /// Which.
        ifindex: Ifindex,
        /// Its address.
        source: Mac,
        /// The next hop's.
        destination: Mac,
    },
}

/// A program on what an interface receives, until it is removed or dropped. Links go with the process, filters with the interface at the
/// latest.
#[derive(Debug)]
pub struct Floor {
    netns: Netns,
    link: Link,
    program: &'static str,
    held: Held,
}

/// What holds a program at its interface.
#[derive(Debug)]
enum Held {
    Tcx(FdLink),
    Clsact {
        /// There was no qdisc, so that there is none afterwards.
        made_qdisc: bool,
    },
    Nothing,
}

impl Floor {
    /// Puts a program in place.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn attach(netns: &Netns, link: &Link, to: FloorTo) -> Result<Self, DatapathError> {
        Self::attach_by(attach_mode()?, netns, link, to)
    }

    fn attach_by(
        mode: AttachMode,
        netns: &Netns,
        link: &Link,
        to: FloorTo,
    ) -> Result<Self, DatapathError> {
        let (program, ifindex, [destination, source]) = match to {
            FloorTo::Peer(ifindex) => ("to_peer", ifindex, [Mac::default(); 2]),
            FloorTo::NextHop {
                ifindex,
                source,
                destination,
            } => ("to_next_hop", ifindex, [destination, source]),
        };
        let mut ebpf = EbpfLoader::new()
            .override_global("IFINDEX", &ifindex.0, true)
            .override_global("ETHERNET", &[destination.0, source.0], true)
            .load(FLOOR)?;
        let mut floor = Self {
            netns: netns.try_clone()?,
            link: link.clone(),
            program,
            held: Held::Nothing,
        };
        let loaded = ebpf.program_mut(program).ok_or(ProgramError::NotLoaded);
        let loaded: &mut SchedClassifier = loaded
            .and_then(TryInto::try_into)
            .map_err(|source| floor.failed(source))?;
        verify(|| loaded.load()).map_err(|source| readable(program, source))?;
        match mode {
            AttachMode::Tcx => floor.attach_tcx(loaded)?,
            AttachMode::Clsact => floor.attach_clsact(loaded)?,
        }
        Ok(floor)
    }

    fn attach_tcx(&mut self, program: &mut SchedClassifier) -> Result<(), DatapathError> {
        let options = TcAttachOptions::TcxOrder(LinkOrder::default());
        let attached = self.netns.run(|| {
            let id =
                program.attach_with_options(&self.link.name, TcAttachType::Ingress, options)?;
            program.take_link(id)
        })?;
        let link = attached.map_err(|source| self.failed(source))?;
        let link = FdLink::try_from(link).map_err(io::Error::other);
        self.held = Held::Tcx(link.map_err(|source| self.failed(ProgramError::IOError(source)))?);
        Ok(())
    }

    fn attach_clsact(&mut self, program: &mut SchedClassifier) -> Result<(), DatapathError> {
        let dev = self.link.name.clone();
        let made_qdisc = match self.netns.run(|| qdisc_add_clsact(&dev))? {
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {
                Ok(false)
            }
            result => result.map(|()| true),
        };
        let made_qdisc = made_qdisc.map_err(|source| DatapathError::Clsact {
            dev: dev.clone(),
            source,
        })?;
        // What was made is taken away when this is dropped.
        self.held = Held::Clsact { made_qdisc };
        let options = TcAttachOptions::Netlink(NlOptions {
            priority: CLSACT_PRIORITY,
            handle: CLSACT_HANDLE,
            classid: None,
        });
        let attached = self.netns.run(|| {
            let id = program.attach_with_options(&dev, TcAttachType::Ingress, options)?;
            // It would take the filter away, in whatever namespace it is dropped.
            mem::forget(program.take_link(id)?);
            Ok(())
        })?;
        attached.map_err(|source| self.failed(source))
    }

    /// Takes it away, and returns when no packet meets it any more.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(mut self) -> Result<(), DatapathError> {
        self.take_away()
    }

    fn take_away(&mut self) -> Result<(), DatapathError> {
        match mem::replace(&mut self.held, Held::Nothing) {
            Held::Nothing => Ok(()),
            // To close the link takes the program off, too, but on some kernels later.
            Held::Tcx(link) => {
                let id = link.info().map_err(io::Error::other).map(|info| info.id());
                let detached = id
                    .and_then(sys::link_by_id)
                    .and_then(|link| sys::detach_link(link.as_fd()));
                detached.map_err(|source| self.failed(ProgramError::IOError(source)))
            }
            Held::Clsact { made_qdisc: true } => {
                let removed = self
                    .netns
                    .enter(|inside| Netlink::open(inside)?.remove_clsact(&self.link))?;
                Ok(removed?)
            }
            Held::Clsact { made_qdisc: false } => {
                let (dev, ingress) = (&self.link.name, TcAttachType::Ingress);
                let removed = self.netns.run(|| {
                    let handle = CLSACT_HANDLE;
                    SchedClassifierLink::attached(dev, ingress, CLSACT_PRIORITY, handle, None)
                        .map_err(ProgramError::IOError)?
                        .detach()
                })?;
                removed.map_err(|source| self.failed(source))
            }
        }
    }

    fn failed(&self, source: ProgramError) -> DatapathError {
        DatapathError::Program {
            program: self.program,
            dev: Some(self.link.name.clone()),
            source,
        }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        if let Err(error) = self.take_away() {
            let (dev, netns) = (&self.link.name, self.netns.name());
            tracing::error!("the floor stays on {dev} of {netns} until that goes: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;

    /// A namespace with an interface `v0`, which goes with it.
    fn place() -> (Netns, Link) {
        let netns = Netns::unnamed().expect("a namespace");
        let made = netns.run(|| command::run("ip", &["link", "add", "v0", "type", "veth"], ""));
        made.expect("entered").expect("iproute2");
        let link = netns
            .enter(|inside| Netlink::open(inside)?.link("v0"))
            .expect("entered")
            .expect("readable");
        (netns, link.expect("just made"))
    }

    /// What `tc` says of a side of the interface.
    fn tc(netns: &Netns, arguments: [&str; 2]) -> String {
        let [what, side] = arguments;
        let arguments = [what, "show", "dev", "v0", side];
        let arguments = arguments.into_iter().filter(|it| !it.is_empty());
        let arguments: Vec<&str> = arguments.collect();
        let said = netns.run(|| command::run("tc", &arguments, ""));
        said.expect("entered").expect("iproute2")
    }

    fn attached(netns: &Netns, link: &Link) -> Floor {
        let to = FloorTo::Peer(link.ifindex);
        let floor = Floor::attach_by(AttachMode::Clsact, netns, link, to).expect("attached");
        let shown = tc(netns, ["filter", "ingress"]);
        let expected = format!(
            "filter protocol all pref {CLSACT_PRIORITY} bpf chain 0 handle 0x1 to_peer direct-action"
        );
        assert!(shown.contains(&expected), "{shown}");
        floor
    }

    #[test]
    fn a_filter_and_its_qdisc_are_gone_when_removed_or_dropped() {
        for remove in [true, false] {
            let (netns, link) = place();
            let floor = attached(&netns, &link);
            assert!(tc(&netns, ["qdisc", ""]).contains("clsact"));
            match remove {
                true => floor.remove().expect("removed"),
                false => drop(floor),
            }
            assert_eq!(tc(&netns, ["filter", "ingress"]), "");
            assert!(!tc(&netns, ["qdisc", ""]).contains("clsact"));
        }
    }

    #[test]
    fn somebody_elses_qdisc_stays() {
        let (netns, link) = place();
        let add = ["qdisc", "add", "dev", "v0", "clsact"];
        let added = netns.run(|| command::run("tc", &add, ""));
        added.expect("entered").expect("iproute2");
        attached(&netns, &link).remove().expect("removed");
        assert_eq!(tc(&netns, ["filter", "ingress"]), "");
        assert!(tc(&netns, ["qdisc", ""]).contains("clsact"));
    }
}
