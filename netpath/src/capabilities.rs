//! What a process has to be allowed to do: capabilities(7), whoever's it is.
//!
//! What netpath makes on bpffs and below /run is root's: all who may work on the same state, and what root does not own is
//! not trusted. So a process that is not root's acts on files as root does (setfsuid(2)), and needs `CAP_SETUID` for that.
//! `CAP_SYS_ADMIN`, which entering a namespace takes, is `CAP_BPF` and `CAP_PERFMON` too.

use std::{fmt, io};

use nix::unistd::Uid;

use crate::{Ending, Ends};

/// The kernel does not say what the process may do, or that has changed meanwhile.
#[derive(Debug, thiserror::Error)]
#[error("what this process may do cannot be told: {0}")]
pub struct CapabilitiesError(#[from] io::Error);

impl Ends for CapabilitiesError {
    fn ending(&self) -> Ending {
        Ending::Failed
    }
}

/// A capability, with its number in linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Capability {
    /// Act on files as root does, where the process is not root's.
    SetUid = 7,
    /// Interfaces, routes, settings of the network, programs at interfaces.
    NetAdmin = 12,
    /// Raw sockets.
    NetRaw = 13,
    /// See what is mounted where process 1 is, and enter the namespace of a process.
    SysPtrace = 19,
    /// Enter and mount namespaces, load programs.
    SysAdmin = 21,
    /// Have a thread run before others.
    SysNice = 23,
}

/// As capabilities(7) has it.
impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SetUid => "CAP_SETUID",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysNice => "CAP_SYS_NICE",
        })
    }
}

/// What is to be done, as far as it differs in what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Counters and connections are read.
    Count,
    /// Maps are read, and what the kernel says of them.
    Maps,
    /// Packets are observed, and test packets are sent.
    Trace,
    /// Nodes are looked at or changed.
    Nodes,
    /// A lab is made, and test packets are sent in it.
    Demo,
    /// The same, in measured time.
    Bench,
}

impl Work {
    /// All of it.
    pub const ALL: [Self; 6] = [
        Self::Count,
        Self::Maps,
        Self::Trace,
        Self::Nodes,
        Self::Demo,
        Self::Bench,
    ];

    /// The subcommands that do it. Those that are no work's need nothing.
    pub fn commands(self) -> &'static [&'static str] {
        match self {
            Self::Count => &["stats", "flows"],
            Self::Maps => &["maps"],
            Self::Trace => &["trace"],
            Self::Nodes => &[
                "up", "down", "show", "endpoint", "fastpath", "explain", "audit",
            ],
            Self::Demo => &["demo"],
            Self::Bench => &["bench"],
        }
    }

    /// What it takes, as root's process. Another one needs [`Capability::SetUid`] besides.
    pub fn needs(self) -> &'static [Capability] {
        use Capability::{NetAdmin, NetRaw, SysAdmin, SysNice, SysPtrace};
        match self {
            Self::Count => &[SysPtrace],
            Self::Maps => &[SysAdmin, SysPtrace],
            Self::Nodes => &[NetAdmin, SysAdmin, SysPtrace],
            Self::Trace | Self::Demo => &[NetAdmin, NetRaw, SysAdmin, SysPtrace],
            Self::Bench => &[NetAdmin, NetRaw, SysAdmin, SysNice, SysPtrace],
        }
    }

    /// What the programs need that it always runs, such as `ip` and `iptables`.
    fn others_need(self) -> &'static [Capability] {
        use Capability::{NetAdmin, NetRaw, SysAdmin};
        match self {
            Self::Count | Self::Maps | Self::Trace | Self::Nodes => &[],
            Self::Demo | Self::Bench => &[NetAdmin, NetRaw, SysAdmin],
        }
    }
}

/// What a process lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It may not do that.
    Own(Capability),
    /// The programs that it runs may not.
    Ambient(Capability),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(capability) => write!(f, "{capability}"),
            Self::Ambient(capability) => write!(
                f,
                "{capability} in the ambient set (for the programs that it runs)"
            ),
        }
    }
}

/// What the calling thread lacks for some work.
///
/// # Errors
/// When the kernel does not say what it has.
pub(crate) fn lacking(work: Work) -> Result<Vec<Lack>, CapabilitiesError> {
    let effective = effective()?;
    let has = |capability: Capability| effective & (1 << capability as u32) != 0;
    let as_root = (!acts_as_root()).then_some(Capability::SetUid);
    let needed = as_root.into_iter().chain(work.needs().iter().copied());
    let own = needed.filter(|it| !has(*it)).map(Lack::Own);
    let mut lacking: Vec<Lack> = own.collect();
    if lacking.is_empty() {
        lacking = lacking_of_others(work.others_need());
    }
    Ok(lacking)
}

/// What of this the programs lack that the calling thread runs: of a process that is not root's they have only what is ambient.
pub(crate) fn lacking_of_others(needed: &[Capability]) -> Vec<Lack> {
    if Uid::effective().is_root() {
        return Vec::new();
    }
    let needed = needed.iter().copied();
    needed
        .filter(|it| !is_ambient(*it))
        .map(Lack::Ambient)
        .collect()
}

/// From here on the calling thread, and what it starts, acts on files as root does.
///
/// # Errors
/// Without [`Capability::SetUid`].
pub(crate) fn act_as_root() -> Result<(), CapabilitiesError> {
    act_on_files_as(0);
    match acts_as_root() {
        true => Ok(()),
        false => Err(io::Error::from(io::ErrorKind::PermissionDenied).into()),
    }
}

/// From here on the calling thread acts on files as the user whose process it is: what it writes now is that user's.
pub fn act_as_self() {
    act_on_files_as(Uid::effective().as_raw());
}

fn act_on_files_as(user: libc::uid_t) {
    // SAFETY: a system call with a number; what it returns is who it was before (setfsuid(2)).
    unsafe { libc::setfsuid(user) };
}

fn acts_as_root() -> bool {
    // SAFETY: a user that there cannot be changes nothing, and the one that it is comes back (setfsuid(2)).
    unsafe { libc::setfsuid(libc::uid_t::MAX) == 0 }
}

/// The effective set of the calling thread.
fn effective() -> io::Result<u64> {
    /// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h.
    const VERSION: u32 = 0x2008_0522;
    // Version and thread; then effective, permitted and inheritable, the lower 32 and the higher ones.
    let header = [VERSION, 0];
    let mut sets = [0u32; 6];
    // SAFETY: both have the layout and the size that this version has, and outlive the call.
    let got = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    match got {
        0 => Ok(u64::from(sets[3]) << 32 | u64::from(sets[0])),
        _ => Err(io::Error::last_os_error()),
    }
}

fn is_ambient(capability: Capability) -> bool {
    let number = libc::c_ulong::from(capability as u32);
    let is_set = libc::PR_CAP_AMBIENT_IS_SET as libc::c_ulong;
    // SAFETY: a system call with numbers (PR_CAP_AMBIENT(2const)).
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, is_set, number, 0, 0) == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_of_one_work() {
        let mut commands: Vec<&str> = Work::ALL
            .iter()
            .flat_map(|work| work.commands())
            .copied()
            .collect();
        let count = commands.len();
        commands.sort_unstable();
        commands.dedup();
        assert_eq!(commands.len(), count);
    }

    #[test]
    fn root_lacks_nothing() {
        for work in Work::ALL {
            assert_eq!(lacking(work).expect("capget"), []);
        }
        assert_eq!(lacking_of_others(Work::Bench.needs()), []);
        act_as_root().expect("it does already");
    }
}
