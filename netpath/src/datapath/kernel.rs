//! What this kernel can do, found by trying.

use std::sync::OnceLock;

use aya::{
    programs::{ProgramError, ProgramType, SchedClassifier, TcAttachType},
    sys::{BpfHelper, is_helper_supported, is_program_supported},
    util::KernelVersion,
};

use super::error::DatapathError;

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// TCX links, pinned (Linux 6.6).
    Tcx,
    /// Filters on a clsact qdisc.
    Clsact,
}

impl AttachMode {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// Environment variable that overrides the probe: `tcx` or `clsact`. For tests of the older way.
const ATTACH_VARIABLE: &str = "NETPATH_ATTACH";

/// The way to attach on this kernel.
///
/// # Errors
/// When the kernel gives no answer this time.
pub fn attach_mode() -> Result<AttachMode, DatapathError> {
    static MODE: OnceLock<AttachMode> = OnceLock::new();
    if let Some(mode) = MODE.get() {
        return Ok(*mode);
    }
    let mode = match std::env::var(ATTACH_VARIABLE).as_deref() {
        Ok("tcx") => AttachMode::Tcx,
        Ok("clsact") => AttachMode::Clsact,
        // Every namespace has a loopback device; asking it what hangs on its hook changes nothing.
        _ => answer(SchedClassifier::query_tcx("lo", TcAttachType::Ingress).map(drop))?,
    };
    // Only an answer is kept: what failed for want of memory may succeed the next time.
    Ok(*MODE.get_or_init(|| mode))
}

/// A kernel without TCX does not know the attach type (`bpf_prog_query`, and `tcx_prog_query` of `net/tcx.h` without
/// CONFIG_NET_XGRESS).
fn answer(queried: Result<(), ProgramError>) -> Result<AttachMode, DatapathError> {
    match queried {
        Ok(()) => Ok(AttachMode::Tcx),
        Err(ProgramError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::EINVAL) =>
        {
            Ok(AttachMode::Clsact)
        }
        Err(source) => Err(DatapathError::Program {
            program: "probe",
            dev: Some("lo".to_owned()),
            source,
        }),
    }
}

/// Fails if a helper is missing that the programs cannot do without.
pub(super) fn require() -> Result<(), DatapathError> {
    let lacks = |what| DatapathError::KernelLacks { what };
    match is_program_supported(ProgramType::SchedClassifier) {
        Ok(true) => {}
        Ok(false) => return Err(lacks("TC programs (CONFIG_NET_CLS_BPF)")),
        Err(source) => {
            return Err(DatapathError::Program {
                program: "probe",
                dev: None,
                source,
            });
        }
    }
    for (helper, what) in [
        (
            BpfHelper::BPF_FUNC_redirect_peer,
            "the helper bpf_redirect_peer",
        ),
        (
            BpfHelper::BPF_FUNC_redirect_neigh,
            "the helper bpf_redirect_neigh",
        ),
        (BpfHelper::BPF_FUNC_fib_lookup, "the helper bpf_fib_lookup"),
        (BpfHelper::BPF_FUNC_check_mtu, "the helper bpf_check_mtu"),
    ] {
        match is_helper_supported(ProgramType::SchedClassifier, helper) {
            Ok(true) => {}
            Ok(false) => return Err(lacks(what)),
            Err(source) => {
                return Err(DatapathError::Program {
                    program: "probe",
                    dev: None,
                    source,
                });
            }
        }
    }
    Ok(())
}

/// `BPF_FIB_LOOKUP_SKIP_NEIGH` of `linux/bpf.h` (Linux 6.3).
const SKIP_NEIGH: u32 = 4;
/// `BPF_FIB_LOOKUP_MARK` of `linux/bpf.h` (Linux 6.10).
const MARK: u32 = 32;

/// The flags of `bpf_fib_lookup` that the programs may use. They are judged by the kernel's version: the
/// helper refuses an unknown flag only at run time, on a real packet.
pub(super) fn fib_flags() -> u32 {
    // `KernelVersion::code` is KERNEL_VERSION(major, minor, patch) of `linux/version.h`.
    let Ok(code) = KernelVersion::current().map(KernelVersion::code) else {
        return 0;
    };
    let mut flags = 0;
    if code >= 6 << 16 | 3 << 8 {
        flags |= SKIP_NEIGH;
    }
    if code >= 6 << 16 | 10 << 8 {
        flags |= MARK;
    }
    flags
}

#[cfg(test)]
mod tests {
    use std::io;

    use aya::sys::SyscallError;

    use super::*;

    #[test]
    fn only_an_unknown_question_means_that_there_is_no_tcx() {
        let failed = |errno| {
            Err(ProgramError::SyscallError(SyscallError {
                call: "bpf_prog_query",
                io_error: io::Error::from_raw_os_error(errno),
            }))
        };
        assert_eq!(answer(Ok(())).expect("an answer"), AttachMode::Tcx);
        let unknown = answer(failed(libc::EINVAL)).expect("an answer");
        assert_eq!(unknown, AttachMode::Clsact);
        for errno in [libc::ENOMEM, libc::EMFILE, libc::EPERM, libc::EINTR] {
            answer(failed(errno)).expect_err("no answer");
        }
    }
}
