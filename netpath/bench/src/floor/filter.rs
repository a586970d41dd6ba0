//! The floor's programs as clsact filters, where netpath's are: over rtnetlink (linux/rtnetlink.h, pkt_sched.h, pkt_cls.h).

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use netpath::netns::Netns;
use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
        sockopt::ReceiveTimeout,
    },
    time::{TimeVal, TimeValLike as _},
};

use crate::{
    error::{BenchError, system},
    netfilter,
};

const NEWQDISC: u16 = 36;
const DELQDISC: u16 = 37;
const NEWTFILTER: u16 = 44;
const DELTFILTER: u16 = 45;
/// `TC_H_CLSACT` as a parent, its handle, and its ingress side.
const CLSACT: u32 = 0xffff_fff1;
const HANDLE: u32 = 0xffff_0000;
const INGRESS: u32 = 0xffff_fff2;
/// The one priority, and `ETH_P_ALL` in network order.
const PRIORITY: u32 = 1;
const ANY: u16 = 3_u16.to_be();
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
/// `TCA_BPF_FLAG_ACT_DIRECT`: the program's answer is what is done.
const ACT_DIRECT: u32 = 1;
/// Size of nlmsghdr, in bytes.
const NLMSGHDR: usize = 16;

/// A filter in place, until it is removed or dropped.
#[derive(Debug)]
pub(super) struct Filter {
    netns: Netns,
    ifindex: u32,
    /// There was no qdisc, so that there is none afterwards.
    made_qdisc: bool,
    is_there: bool,
}

impl Filter {
    /// Puts a program on what an interface receives.
    pub fn attach(
        netns: &Netns,
        program: BorrowedFd<'_>,
        ifindex: u32,
    ) -> Result<Self, BenchError> {
        let create = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
        let qdisc = body(ifindex, HANDLE, CLSACT, 0, &[text(TCA_KIND, "clsact")]);
        let made_qdisc = match request(netns, NEWQDISC, create, &qdisc) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            result => result.map(|()| true),
        };
        let filter = Self {
            netns: netns.try_clone()?,
            ifindex,
            made_qdisc: made_qdisc.map_err(failed(netns, "make a clsact qdisc"))?,
            is_there: true,
        };
        let options = [
            number(TCA_BPF_FD, program.as_raw_fd().cast_unsigned()),
            text(TCA_BPF_NAME, "bench_floor"),
            number(TCA_BPF_FLAGS, ACT_DIRECT),
        ]
        .concat();
        let parts = [text(TCA_KIND, "bpf"), attribute(TCA_OPTIONS, &options)];
        let place = PRIORITY << 16 | u32::from(ANY);
        let message = body(ifindex, 0, INGRESS, place, &parts);
        // What was made is taken away by `filter`.
        request(netns, NEWTFILTER, create, &message)
            .map_err(failed(netns, "put the floor in place"))?;
        Ok(filter)
    }

    /// Takes it away, and the qdisc if there was none.
    pub fn remove(mut self) -> Result<(), BenchError> {
        self.is_there = false;
        self.take_away()
            .map_err(failed(&self.netns, "take the floor away"))
    }

    fn take_away(&self) -> io::Result<()> {
        let place = PRIORITY << 16 | u32::from(ANY);
        let filter = body(self.ifindex, 0, INGRESS, place, &[]);
        let removed = request(&self.netns, DELTFILTER, 0, &filter);
        if self.made_qdisc {
            // With all that is in it.
            let qdisc = body(self.ifindex, HANDLE, CLSACT, 0, &[]);
            return request(&self.netns, DELQDISC, 0, &qdisc);
        }
        removed
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if self.is_there
            && let Err(error) = self.take_away()
        {
            tracing::error!(%error, "the floor stays in {} until the lab goes", self.netns.name());
        }
    }
}

fn failed(netns: &Netns, what: &str) -> impl FnOnce(io::Error) -> BenchError {
    let what = format!("{what} in {}", netns.name());
    move |source| system(what, source)
}

/// A tcmsg and its attributes.
fn body(ifindex: u32, handle: u32, parent: u32, info: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
    // Family and padding.
    let mut bytes = vec![0; 4];
    for word in [ifindex, handle, parent, info] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(attributes.concat());
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (4 + value.len()) as u16;
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_ne_bytes())
}

/// Sends a request, and takes the answer.
fn request(netns: &Netns, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let length = (NLMSGHDR + body.len()) as u32;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number and port.
    message.extend([0; 8]);
    message.extend(body);
    let talk = || {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(10))?;
        send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        Ok::<_, nix::Error>(answer[..length].to_vec())
    };
    let answer = netns.run(talk).map_err(io::Error::other)??;
    match netfilter::errno(&answer) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use netpath::{command, netlink::Netlink};

    use super::*;
    use crate::floor::{bpf, program};

    /// A namespace with an interface `v0`, which goes with it.
    fn place() -> (Netns, u32) {
        let netns = Netns::unnamed().expect("a namespace");
        let made = netns.run(|| command::run("ip", &["link", "add", "v0", "type", "veth"], ""));
        made.expect("entered").expect("iproute2");
        let link = netns
            .enter(|inside| Netlink::open(inside)?.link("v0"))
            .expect("entered")
            .expect("readable");
        (netns, link.expect("just made").ifindex.0)
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

    fn attached() -> (Netns, Filter) {
        let (netns, ifindex) = place();
        let program = bpf::load("bench_floor", &program::to_peer(ifindex)).expect("loaded");
        let filter = Filter::attach(&netns, program.as_fd(), ifindex).expect("attached");
        let shown = tc(&netns, ["filter", "ingress"]);
        let expected =
            "filter protocol all pref 1 bpf chain 0 handle 0x1 bench_floor direct-action";
        assert!(shown.contains(expected), "{shown}");
        (netns, filter)
    }

    #[test]
    fn a_filter_and_its_qdisc_are_gone_when_removed_or_dropped() {
        for remove in [true, false] {
            let (netns, filter) = attached();
            assert!(tc(&netns, ["qdisc", ""]).contains("clsact"));
            match remove {
                true => filter.remove().expect("removed"),
                false => drop(filter),
            }
            assert_eq!(tc(&netns, ["filter", "ingress"]), "");
            assert!(!tc(&netns, ["qdisc", ""]).contains("clsact"));
        }
    }

    #[test]
    fn somebody_elses_qdisc_stays() {
        let (netns, ifindex) = place();
        let add = ["qdisc", "add", "dev", "v0", "clsact"];
        let added = netns.run(|| command::run("tc", &add, ""));
        added.expect("entered").expect("iproute2");
        let program = bpf::load("bench_floor", &program::to_peer(ifindex)).expect("loaded");
        let filter = Filter::attach(&netns, program.as_fd(), ifindex).expect("attached");
        filter.remove().expect("removed");
        assert_eq!(tc(&netns, ["filter", "ingress"]), "");
        assert!(tc(&netns, ["qdisc", ""]).contains("clsact"));
    }
}
