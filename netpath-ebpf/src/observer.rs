//! The programs by which `netpath trace` observes packets at the kernel's own tracepoints, whoever forwards them.
//!
//! They are attached only while somebody traces, end with that process, and change nothing. A packet that the filter matches is
//! told, and followed from then on by its address in the kernel, whatever becomes of its headers, until it is freed.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    missing_docs,
    reason = "the tracepoint macro writes a second, bare function for each program"
)]

mod object;

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _, Global,
    btf_maps::{Array, LruHashMap, PerCpuArray, RingBuf},
    helpers::generated::{
        bpf_get_smp_processor_id, bpf_get_stack, bpf_ktime_get_ns, bpf_probe_read_kernel,
    },
    macros::{btf_map, raw_tracepoint},
    programs::RawTracePointContext,
};
use netpath_common::trace::{
    IS_PACKET, NETWORK_BYTES, TRACE_BYTES, TRACE_RING, TRACE_STACK, TRACED_MAX, TRANSPORT_BYTES,
    TraceCounts, TraceEvent, TraceFilter, TraceHeaders, TraceOffsets, TracePoint,
};

/// Where this kernel has what is told.
#[unsafe(no_mangle)]
static OFFSETS: Global<TraceOffsets> = Global::new(TraceOffsets {
    skb_dev: 0,
    skb_len: 0,
    skb_mark: 0,
    skb_head: 0,
    skb_data: 0,
    skb_tail: 0,
    skb_network_header: 0,
    dev_ifindex: 0,
    dev_net: 0,
    net_inum: 0,
    has_reason: 0,
    has_consumer: 0,
    sample: 1,
    rate: 0,
});

/// Which packets are looked for.
#[btf_map(name = "filter")]
static FILTER: Array<TraceFilter, 1> = Array::new();

/// The packets that are followed: their addresses, and what tells that it is still the same packet.
#[btf_map(name = "traced")]
static TRACED: LruHashMap<u64, u64, { TRACED_MAX as usize }> = LruHashMap::new();

/// Events, and what netpath's own programs have decided.
#[btf_map(name = "told")]
static TOLD: RingBuf<TraceEvent, { TRACE_RING as usize }> = RingBuf::new();

/// See [`unknown`].
#[btf_map(name = "unknown")]
static UNKNOWN: PerCpuArray<u32, 1> = PerCpuArray::new();

/// What each processor has told.
#[btf_map(name = "counts")]
static COUNTS: PerCpuArray<TraceCounts, 1> = PerCpuArray::new();

#[raw_tracepoint]
pub fn trace_received(ctx: RawTracePointContext) -> i32 {
    observe(&ctx, TracePoint::Received, Why::default());
    0
}

#[raw_tracepoint]
pub fn trace_sent(ctx: RawTracePointContext) -> i32 {
    observe(&ctx, TracePoint::Sent, Why::default());
    0
}

#[raw_tracepoint]
pub fn trace_dropped(ctx: RawTracePointContext) -> i32 {
    let why = Why {
        location: ctx.arg(1),
        reason: match OFFSETS.load().has_reason {
            0 => 0,
            _ => ctx.arg(2),
        },
    };
    observe(&ctx, TracePoint::Dropped, why);
    0
}

#[raw_tracepoint]
pub fn trace_consumed(ctx: RawTracePointContext) -> i32 {
    let why = Why {
        location: match OFFSETS.load().has_consumer {
            0 => 0,
            _ => ctx.arg(1),
        },
        reason: 0,
    };
    observe(&ctx, TracePoint::Consumed, why);
    0
}

/// What a tracepoint tells besides.
#[derive(Clone, Copy, Default)]
struct Why {
    location: u64,
    reason: u32,
}

/// Where a packet's bytes are.
struct Bytes {
    /// Its network header's address.
    network: u64,
    /// How many bytes there are from there on, in one piece.
    length: u32,
}

#[inline(always)]
fn observe(ctx: &RawTracePointContext, point: TracePoint, why: Why) {
    let skb: u64 = ctx.arg(0);
    let offsets = OFFSETS.load();
    let Some(bytes) = locate(skb, point, &offsets) else {
        return;
    };
    let network: [u8; NETWORK_BYTES] = read_or_zero(bytes.network);
    let Some(at) = TraceHeaders::transport(&network) else {
        return;
    };
    let signature = TraceHeaders::signature(&network);
    if !is_followed(skb, signature) {
        // What is only freed was not seen on any way.
        if point as u32 == TracePoint::Consumed as u32 {
            return;
        }
        let transport: [u8; TRANSPORT_BYTES] = read_or_zero(bytes.network + u64::from(at));
        let Some(headers) = TraceHeaders::of(&network, &transport) else {
            return;
        };
        let Some(filter) = FILTER.get(0) else {
            return;
        };
        if unknown(filter.left(&headers)) & 1 == 0 || !may_begin(signature, &offsets) {
            return;
        }
    }
    let is_freed =
        point as u32 == TracePoint::Consumed as u32 || point as u32 == TracePoint::Dropped as u32;
    if is_freed {
        let _gone = TRACED.remove(skb);
    } else {
        let _full = TRACED.insert(skb, signature, 0);
    }
    tell(ctx, skb, point, why, &bytes, &offsets);
}

/// The same number, of which the verifier knows nothing any more: else it would follow each way through a filter's steps to each
/// answer, and there are more than it takes.
#[inline(always)]
fn unknown(number: u32) -> u32 {
    match UNKNOWN.get_ptr_mut(0) {
        // SAFETY: this processor's; where one program interrupts another a packet more or less is followed.
        Some(place) => unsafe {
            place.write_volatile(number);
            place.read_volatile()
        },
        None => 0,
    }
}

/// Whether it is a packet that was seen before. An address may be another packet's by now, or that of a whole that was put together in
/// the place of its last fragment: then nobody is to take what comes there next for the one before.
#[inline(always)]
fn is_followed(skb: u64, signature: u64) -> bool {
    // SAFETY: a number is compared, and at once.
    match unsafe { TRACED.get(skb) } {
        Some(found) if *found == signature => true,
        Some(_) => {
            let _gone = TRACED.remove(skb);
            false
        }
        None => false,
    }
}

/// Whether one more packet may be followed: of so many one, and no more in a moment than may be.
#[inline(always)]
fn may_begin(signature: u64, offsets: &TraceOffsets) -> bool {
    // The same for a packet at each place.
    let number = (signature.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
    if offsets.sample > 1 && !number.is_multiple_of(offsets.sample) {
        return false;
    }
    let Some(counts) = COUNTS.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: this processor's. Where one program interrupts another a packet more or less is followed.
    let counts = unsafe { &mut *counts };
    // SAFETY: it takes nothing.
    let window = unsafe { bpf_ktime_get_ns() } >> TraceOffsets::WINDOW;
    if counts.window != window {
        counts.window = window;
        counts.begun = 0;
    }
    if counts.begun >= u64::from(offsets.rate) {
        counts.skipped += 1;
        return false;
    }
    counts.begun += 1;
    true
}

#[inline(always)]
fn locate(skb: u64, point: TracePoint, offsets: &TraceOffsets) -> Option<Bytes> {
    let head: u64 = read(skb + u64::from(offsets.skb_head))?;
    let tail: u32 = read(skb + u64::from(offsets.skb_tail))?;
    // What has come in begins at its network header, which is only noted behind this tracepoint.
    let network = if point as u32 == TracePoint::Received as u32 {
        read(skb + u64::from(offsets.skb_data))?
    } else {
        let at: u16 = read(skb + u64::from(offsets.skb_network_header))?;
        head + u64::from(at)
    };
    let end = head + u64::from(tail);
    (end > network).then(|| Bytes {
        network,
        length: (end - network) as u32,
    })
}

#[inline(always)]
fn tell(
    ctx: &RawTracePointContext,
    skb: u64,
    point: TracePoint,
    why: Why,
    bytes: &Bytes,
    offsets: &TraceOffsets,
) {
    let Some(mut entry) = TOLD.reserve(0) else {
        if let Some(counts) = COUNTS.get_ptr_mut(0) {
            // SAFETY: as in `may_begin`.
            unsafe { (*counts).lost += 1 };
        }
        return;
    };
    let event = entry.as_mut_ptr();
    let device: u64 = read(skb + u64::from(offsets.skb_dev)).unwrap_or(0);
    let (ifindex, netns) = match device {
        0 => (0, 0),
        device => place(device, offsets),
    };
    // SAFETY: the entry is as large as an event, and every field is written before it is submitted.
    unsafe {
        (*event).kind = IS_PACKET;
        (*event).cpu = bpf_get_smp_processor_id();
        (*event).time = bpf_ktime_get_ns();
        (*event).skb = skb;
        (*event).point = point as u32;
        (*event).ifindex = ifindex;
        (*event).netns = netns;
        (*event).length = read(skb + u64::from(offsets.skb_len)).unwrap_or(0);
        (*event).mark = read(skb + u64::from(offsets.skb_mark)).unwrap_or(0);
        (*event).reason = why.reason;
        (*event).location = why.location;
        (*event).captured = copy(bytes, &raw mut (*event).bytes);
        (*event).depth = 0;
        let stack = &raw mut (*event).stack;
        if point as u32 == TracePoint::Dropped as u32 {
            let size = size_of::<[u64; TRACE_STACK]>() as u32;
            let got = bpf_get_stack(ctx.as_ptr(), stack.cast(), size, 0);
            (*event).depth = if got > 0 { got as u32 / 8 } else { 0 };
        } else {
            *stack = [0; TRACE_STACK];
        }
    }
    entry.submit(0);
}

/// Copies the beginning of a packet; the rest is zero. Returns how much of it there is.
///
/// # Safety
/// There is room for an event's bytes.
#[inline(always)]
unsafe fn copy(bytes: &Bytes, to: *mut [u8; TRACE_BYTES]) -> u32 {
    // SAFETY: the caller's promise; events and their bytes begin at a multiple of eight, and so it takes few instructions.
    unsafe { *to.cast::<[u64; TRACE_BYTES / 8]>() = [0; TRACE_BYTES / 8] };
    let length = if bytes.length < TRACE_BYTES as u32 {
        bytes.length
    } else {
        TRACE_BYTES as u32
    };
    // SAFETY: no more is read than there is room for, and the helper reads from anywhere.
    let read = unsafe { bpf_probe_read_kernel(to.cast(), length, bytes.network as *const _) };
    if read == 0 { length } else { 0 }
}

/// Index and namespace of an interface.
#[inline(always)]
fn place(device: u64, offsets: &TraceOffsets) -> (u32, u32) {
    // Where it is none, as in a socket's queue, this is no address that can be read.
    let Some(ifindex) = read::<u32>(device + u64::from(offsets.dev_ifindex)) else {
        return (0, 0);
    };
    let net: u64 = read(device + u64::from(offsets.dev_net)).unwrap_or(0);
    let inum: u32 = read(net + u64::from(offsets.net_inum)).unwrap_or(0);
    (ifindex, inum)
}

/// Reads from the kernel's memory; `None` where there is none.
#[inline(always)]
fn read<T: Copy>(from: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: there is room for a value, and the helper reads from anywhere; it fills what it cannot read with zeros.
    let got = unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            from as *const _,
        )
    };
    // SAFETY: written by the helper, and any bytes are a number.
    (got == 0).then(|| unsafe { value.assume_init() })
}

/// The same, with zeros where there is no memory.
#[inline(always)]
fn read_or_zero<const N: usize>(from: u64) -> [u8; N] {
    let mut value = [0; N];
    // SAFETY: as in `read`.
    let _unreadable =
        unsafe { bpf_probe_read_kernel(value.as_mut_ptr().cast(), N as u32, from as *const _) };
    value
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
