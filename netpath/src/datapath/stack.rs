//! A test of the programs that are embedded: their calls within calls fit the stack as every kernel counts it.
//!
//! A program and the functions that it calls share 512 bytes, and the verifier rounds up what each takes: to 32 bytes until
//! Linux 6.7 (`check_max_stack_depth` in kernel/bpf/verifier.c), to 16 later where the program is compiled. What fits one kernel
//! may be refused by an older one, which nothing on this machine would tell.

use std::collections::{BTreeSet, HashSet};

use aya_obj::{Object, generated::bpf_insn};

use super::{ObjectKind, ProgramKind, load};

/// `MAX_BPF_STACK` of linux/filter.h.
const STACK: u32 = 512;
/// What each function's share is rounded up to.
const ROUNDED: u32 = 32;

/// Classes of instructions, and register 10, which points to the end of the stack (linux/bpf.h, linux/bpf_common.h).
const CLASS: u8 = 0x07;
const LDX: u8 = 0x01;
const ST: u8 = 0x02;
const STX: u8 = 0x03;
const LOAD_64: u8 = 0x18;
const ADD_IMMEDIATE: u8 = 0x07;
const MOVE_REGISTER: u8 = 0xbf;
const CALL: u8 = 0x85;
const CALL_OF_FUNCTION: u8 = 1;
const FRAME: u8 = 10;

/// A function of a program: from one instruction on, up to another.
struct Function {
    /// Bytes of the stack that it uses.
    stack: u32,
    /// Where those begin that it calls.
    calls: BTreeSet<usize>,
}

/// Of the functions that begin here and end before the next, this one.
fn function(code: &[bpf_insn], from: usize, to: usize) -> Function {
    let mut found = Function {
        stack: 0,
        calls: BTreeSet::new(),
    };
    // Registers that hold an address on the stack, until something is added to it.
    let mut copies = HashSet::new();
    let mut at = from;
    while at < to {
        let insn = &code[at];
        let below = match insn.code {
            CALL if insn.src_reg() == CALL_OF_FUNCTION => {
                found.calls.insert(target(at, insn));
                0
            }
            MOVE_REGISTER if insn.src_reg() == FRAME => {
                copies.insert(insn.dst_reg());
                0
            }
            ADD_IMMEDIATE if copies.remove(&insn.dst_reg()) => -insn.imm,
            code if matches!(code & CLASS, ST | STX) && insn.dst_reg() == FRAME => {
                -i32::from(insn.off)
            }
            code if code & CLASS == LDX && insn.src_reg() == FRAME => -i32::from(insn.off),
            _ => 0,
        };
        found.stack = found.stack.max(u32::try_from(below).unwrap_or(0));
        // Two instructions' room.
        at += if insn.code == LOAD_64 { 2 } else { 1 };
    }
    found
}

/// Where a call leads: behind the next instruction, so many further.
fn target(at: usize, insn: &bpf_insn) -> usize {
    let target = at as i64 + 1 + i64::from(insn.imm);
    usize::try_from(target).expect("within the program")
}

/// Where functions begin, in order.
fn beginnings(code: &[bpf_insn]) -> Vec<usize> {
    let calls = code.iter().enumerate();
    let calls = calls.filter(|(_, insn)| insn.code == CALL && insn.src_reg() == CALL_OF_FUNCTION);
    let mut all: BTreeSet<usize> = calls.map(|(at, insn)| target(at, insn)).collect();
    all.insert(0);
    all.into_iter().collect()
}

/// The most that the function which begins here and those below it take, and by which of them.
fn deepest(code: &[bpf_insn], beginnings: &[usize], from: usize) -> (u32, Vec<(usize, u32)>) {
    let next = beginnings.iter().find(|at| **at > from);
    let this = function(code, from, next.copied().unwrap_or(code.len()));
    let below = this.calls.iter();
    let below = below.map(|call| deepest(code, beginnings, *call));
    let (depth, way) = below.max_by_key(|(depth, _)| *depth).unwrap_or_default();
    let own = this.stack.next_multiple_of(ROUNDED).max(ROUNDED);
    (own + depth, [vec![(from, this.stack)], way].concat())
}

#[test]
fn calls_within_calls_fit_every_kernels_stack() {
    for kind in [ObjectKind::Plain, ObjectKind::Logging] {
        let mut object = Object::parse(load::bytes(kind)).expect("the embedded object");
        let sections: HashSet<usize> = object.functions.keys().map(|(index, _)| *index).collect();
        object.relocate_calls(&sections).expect("its own calls");
        for program in ProgramKind::ALL {
            let key = object.programs[program.name()].function_key();
            let code = &object.functions[&key].instructions;
            let beginnings = beginnings(code);
            assert!(beginnings.len() > 1, "{} calls nothing", program.name());
            let (depth, way) = deepest(code, &beginnings, 0);
            assert!(
                depth <= STACK,
                "{} of {kind:?} takes {depth} bytes of stack, by functions at (instruction, bytes) {way:?}",
                program.name()
            );
        }
    }
}
