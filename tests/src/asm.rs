//! BPF's instructions, as far as tests need them, as `struct bpf_insn` (`linux/bpf.h`, `linux/bpf_common.h`; RFC 9669).

pub const R0: u8 = 0;
pub const R1: u8 = 1;
pub const R2: u8 = 2;
pub const R6: u8 = 6;
pub const R7: u8 = 7;
pub const R10: u8 = 10;
/// `BPF_FUNC_map_lookup_elem`.
pub const MAP_LOOKUP_ELEM: i32 = 1;
/// Offsets in `struct __sk_buff`.
pub const SKB_LEN: i16 = 0;
pub const SKB_MARK: i16 = 8;
pub const SKB_PRIORITY: i16 = 32;
pub const EXIT: u64 = instruction(0x95, 0, 0, 0, 0);

const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> u64 {
    let [low, high] = offset.to_ne_bytes();
    let [a, b, c, d] = immediate.to_ne_bytes();
    // The two registers share a byte; the destination has the half that C's bit field has first.
    let registers = if cfg!(target_endian = "little") {
        from << 4 | to
    } else {
        to << 4 | from
    };
    u64::from_ne_bytes([code, registers, low, high, a, b, c, d])
}

pub fn move_register(to: u8, from: u8) -> u64 {
    instruction(0xbf, to, from, 0, 0)
}

/// The 64-bit register becomes the immediate, its sign extended.
pub fn move_immediate(to: u8, immediate: i32) -> u64 {
    instruction(0xb7, to, 0, 0, immediate)
}

pub fn add(to: u8, immediate: i32) -> u64 {
    instruction(0x07, to, 0, 0, immediate)
}

pub fn add_register(to: u8, from: u8) -> u64 {
    instruction(0x0f, to, from, 0, 0)
}

pub fn shift_left(to: u8, bits: i32) -> u64 {
    instruction(0x67, to, 0, 0, bits)
}

/// Both halves of a load with `BPF_PSEUDO_MAP_FD`.
pub fn map_fd(to: u8, fd: i32) -> [u64; 2] {
    [instruction(0x18, to, 1, 0, fd), instruction(0, 0, 0, 0, 0)]
}

pub fn load_word(to: u8, from: u8, offset: i16) -> u64 {
    instruction(0x61, to, from, offset, 0)
}

pub fn store_word(to: u8, offset: i16, immediate: i32) -> u64 {
    instruction(0x62, to, 0, offset, immediate)
}

pub fn write_word(to: u8, offset: i16, from: u8) -> u64 {
    instruction(0x63, to, from, offset, 0)
}

pub fn atomic_add(to: u8, offset: i16, from: u8) -> u64 {
    instruction(0xdb, to, from, offset, 0)
}

pub fn jump_if(register: u8, is: i32, over: i16) -> u64 {
    instruction(0x15, register, 0, over, is)
}

pub fn jump_if_not(register: u8, is: i32, over: i16) -> u64 {
    instruction(0x55, register, 0, over, is)
}

pub fn jump_if_more(register: u8, than: i32, over: i16) -> u64 {
    instruction(0x25, register, 0, over, than)
}

pub fn call(helper: i32) -> u64 {
    instruction(0x85, 0, 0, 0, helper)
}
