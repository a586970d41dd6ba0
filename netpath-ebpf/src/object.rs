//! What every object has beside its programs. It is part of each binary and not of the library, whose maps would come with it.

/// Without it the helpers that redirect, look routes up, or read the kernel's memory and its call stack are refused: they are open to
/// GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
