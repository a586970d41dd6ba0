//! What this kernel can do, found by trying.

use std::sync::OnceLock;

use aya::{
    programs::{ProgramType, SchedClassifier, TcAttachType},
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
pub fn attach_mode() -> AttachMode {
    static MODE: OnceLock<AttachMode> = OnceLock::new();
    *MODE.get_or_init(|| {
        match std::env::var(ATTACH_VARIABLE).as_deref() {
            Ok("tcx") => return AttachMode::Tcx,
            Ok("clsact") => return AttachMode::Clsact,
            _ => {}
        }
        // Every namespace has a loopback device; asking it what hangs on its hook changes nothing, and a
        // kernel without TCX does not know the question.
        match SchedClassifier::query_tcx("lo", TcAttachType::Ingress) {
            Ok(_) => AttachMode::Tcx,
            Err(_) => AttachMode::Clsact,
        }
    })
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
