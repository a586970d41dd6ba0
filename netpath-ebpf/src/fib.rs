//! The next hop, from the kernel's FIB.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _, Global,
    bindings::{
        BPF_FIB_LKUP_RET_BLACKHOLE, BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_FWD_DISABLED,
        BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_PROHIBIT,
        BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LKUP_RET_UNREACHABLE,
    },
    helpers::generated::bpf_fib_lookup,
};
use netpath_common::{DropReason, Ifindex, PuntReason, Verdict};

use crate::{
    access::Skb,
    family::{V4, V6},
    features::Features,
    parse::{ETHERNET, Flow, IPV4_END, IPV6_END, Parse, Parsed},
    shadow, too_big, trail,
};

/// Flags of `bpf_fib_lookup` that this kernel has, set by the loader: `BPF_FIB_LOOKUP_SKIP_NEIGH` from
/// Linux 6.3, `BPF_FIB_LOOKUP_MARK` from 6.10.
#[unsafe(no_mangle)]
static FIB_FLAGS: Global<u32> = Global::new(0);

/// `BPF_FIB_LOOKUP_SKIP_NEIGH` of `linux/bpf.h`.
const BPF_FIB_LOOKUP_SKIP_NEIGH: u32 = 4;
/// `BPF_FIB_LOOKUP_MARK` of `linux/bpf.h`.
const BPF_FIB_LOOKUP_MARK: u32 = 32;
/// `BPF_FIB_LOOKUP_SRC` of `linux/bpf.h` (Linux 6.7).
const BPF_FIB_LOOKUP_SRC: u32 = 16;
/// `AF_INET` of `linux/socket.h`.
const AF_INET: u8 = 2;
/// `AF_INET6` of `linux/socket.h`.
const AF_INET6: u8 = 10;
/// The flow label and traffic class in the first word of an IPv6 header (`IPV6_FLOWINFO_MASK`).
const IPV6_FLOWINFO_MASK: u32 = 0x0fff_ffffu32.to_be();

/// `struct bpf_fib_lookup` of `linux/bpf.h`, written out because its unions change roles between question
/// and answer. Addresses and ports in network order. On the stack, whose words the verifier wants aligned.
#[repr(C, align(8))]
pub struct FibLookup {
    /// In: of source and destination. Out: of the gateway.
    family: u8,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
    /// In: length of the packet from its IP header on, 0 to leave the MTU unchecked. Out: the MTU.
    length_or_mtu: u16,
    /// In: ingress. Out: egress.
    ifindex: u32,
    /// In: DSCP for IPv4 in the first byte, class and flow label for IPv6. Out: the route's metric.
    class: u32,
    source: [u32; 4],
    /// In: the destination. Out: the gateway, or still the destination where it is on the link.
    destination: [u32; 4],
    vlan: u32,
    /// In: the mark, with `BPF_FIB_LOOKUP_MARK`. Out: the source MAC.
    mark: u32,
    macs: [u32; 2],
}

const _: () = assert!(size_of::<FibLookup>() == 64);

impl FibLookup {
    /// Zeros all of it, in words: for zeros beside one another the compiler calls `memset`, which takes a loop of a
    /// step for each byte on the BPF machine.
    #[inline(always)]
    fn zeroed(place: &mut MaybeUninit<Self>) -> &mut Self {
        let words = place.as_mut_ptr().cast::<u64>();
        for at in 0..size_of::<Self>() / size_of::<u64>() {
            // SAFETY: within `place`, which is aligned for words.
            unsafe { words.add(at).write_volatile(0) };
        }
        // SAFETY: all of it was written, and integers may be zero.
        unsafe { place.assume_init_mut() }
    }

    #[inline(always)]
    fn set_flow(&mut self, family: u8, flow: &Flow) {
        self.family = family;
        self.protocol = flow.protocol;
        self.source_port = flow.source_port;
        self.destination_port = flow.destination_port;
    }
}

/// An IPv6 address as four words in network order.
#[inline(always)]
pub fn words(address: [u8; 16]) -> [u32; 4] {
    // SAFETY: sixteen bytes and four words are the same memory, and any value is valid.
    unsafe { core::mem::transmute::<[u8; 16], [u32; 4]>(address) }
}

/// How a family asks the FIB.
pub trait Route: Parse {
    /// Whether the kernel can filter sources of this family by reverse path.
    const HAS_REVERSE_PATH_FILTER: bool;
    /// Whether the kernel always forwards this family by paths' MTUs.
    const ALWAYS_BY_PATH_MTU: bool;

    /// Where a header without options or extensions names what is behind it, in bytes from the start of the frame.
    const PROTOCOL: u32;
    /// Where such a header ends.
    const HEADERS: u32;

    /// A packet does not fit the MTU of the way to its next hop: what becomes of it.
    fn exceeds(skb: &mut Skb, packet: &Parsed<Self>, next_hop: &NextHop) -> Verdict;

    /// Turns the destination of a question into the next or the last address.
    fn go_next_door(question: &mut FibLookup);

    /// How a packet leaves by a device that puts no header of the link's before it: one of [`NextHop`]'s.
    const BY_BARE_DEVICE: u32;

    /// Asks about a packet, in a question that is all zero; its interface and length are left to the caller.
    fn ask(question: &mut FibLookup, packet: &Parsed<Self>, flow: &Flow);
}

impl Route for V4 {
    const HAS_REVERSE_PATH_FILTER: bool = true;
    const ALWAYS_BY_PATH_MTU: bool = false;
    const BY_BARE_DEVICE: u32 = NextHop::BY_ROUTE;
    const PROTOCOL: u32 = ETHERNET as u32 + 9;
    const HEADERS: u32 = IPV4_END as u32;

    /// The kernel answers before it asks filter FORWARD (`ip_forward`).
    #[inline(always)]
    fn exceeds(_skb: &mut Skb, _packet: &Parsed<Self>, _next_hop: &NextHop) -> Verdict {
        Verdict::Punt(PuntReason::MtuExceeded)
    }

    #[inline(always)]
    fn go_next_door(question: &mut FibLookup) {
        question.destination[0] ^= 1u32.to_be();
    }

    #[inline(always)]
    fn ask(question: &mut FibLookup, packet: &Parsed<Self>, flow: &Flow) {
        question.set_flow(AF_INET, flow);
        question.class = u32::from_ne_bytes([flow.class as u8, 0, 0, 0]);
        question.source[0] = u32::from_ne_bytes(packet.source);
        question.destination[0] = u32::from_ne_bytes(packet.destination);
    }
}

impl Route for V6 {
    const HAS_REVERSE_PATH_FILTER: bool = false;
    const ALWAYS_BY_PATH_MTU: bool = true;
    const BY_BARE_DEVICE: u32 = NextHop::BY_DEVICE;
    const PROTOCOL: u32 = ETHERNET as u32 + 6;
    const HEADERS: u32 = IPV6_END as u32;

    /// By a route's own MTU the kernel answers before it asks filter FORWARD (`ip6_forward`), as for IPv4. By what it has
    /// learnt of the path it would behind it (`ip6_fragment`), and so not at all where that drops.
    #[inline(always)]
    fn exceeds(skb: &mut Skb, packet: &Parsed<Self>, next_hop: &NextHop) -> Verdict {
        if !is_of_this_path(skb, packet, next_hop) {
            return Verdict::Punt(PuntReason::MtuExceeded);
        }
        // In shadow mode the kernel does it, wherever it does.
        if shadow::lets_change(skb, next_hop.ifindex, Features::of_node()).is_err() {
            return Verdict::Punt(PuntReason::MtuExceeded);
        }
        match too_big::answer(skb, packet, next_hop.mtu) {
            too_big::ANSWERED => Verdict::Drop(DropReason::PacketTooBig),
            too_big::BROKEN => Verdict::Drop(DropReason::RewriteFailed),
            _ => Verdict::Punt(PuntReason::MtuExceeded),
        }
    }

    #[inline(always)]
    fn go_next_door(question: &mut FibLookup) {
        question.destination[3] ^= 1u32.to_be();
    }

    #[inline(always)]
    fn ask(question: &mut FibLookup, packet: &Parsed<Self>, flow: &Flow) {
        question.set_flow(AF_INET6, flow);
        question.class = flow.class & IPV6_FLOWINFO_MASK;
        question.source = words(packet.source);
        question.destination = words(packet.destination);
    }
}

/// Where the kernel's FIB sends a packet.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct NextHop {
    /// The egress interface.
    pub ifindex: Ifindex,
    /// MTU of the path, in bytes from the IP header on.
    pub mtu: u32,
    /// `AF_INET` or `AF_INET6`: the gateway's. Or how it is to be reached without one: [`NextHop::BY_ROUTE`],
    /// [`NextHop::BY_DEVICE`].
    pub family: u32,
    /// In network order; IPv4 uses the first word.
    pub gateway: [u32; 4],
}

impl NextHop {
    /// By the kernel's route through the device, which goes with the packet. A tunnel that cannot carry an IPv4 packet sends
    /// an ICMP error only where there is one (`icmp_send`).
    pub const BY_ROUTE: u32 = 0;
    /// By the device alone.
    pub const BY_DEVICE: u32 = 1;

    /// Whether it is reached by its MAC.
    #[inline(always)]
    pub fn has_neighbour(&self) -> bool {
        !matches!(self.family, Self::BY_ROUTE | Self::BY_DEVICE)
    }
}

/// The kernel's answer: one of `BPF_FIB_LKUP_RET_*`, and what it wrote into the question.
#[inline(always)]
fn lookup(skb: &Skb, question: &mut FibLookup, flags: u32) -> u32 {
    // SAFETY: the context is valid, the structure has the kernel's layout and outlives the call.
    let result = unsafe {
        bpf_fib_lookup(
            skb.context().as_ptr(),
            (&raw mut *question).cast(),
            size_of::<FibLookup>() as i32,
            flags,
        )
    };
    result as u32
}

/// Whether the kernel goes by what it knows of a path's MTU when it forwards: for IPv4 only where it was told to
/// (`ip_dst_mtu_maybe_forward` in net/ip.h), for IPv6 always (`ip6_dst_mtu_forward` in net/ip6_route.h).
#[inline(always)]
pub fn by_path_mtu<F: Route>(features: Features) -> bool {
    F::ALWAYS_BY_PATH_MTU || features.path_mtu()
}

/// Asks the kernel's FIB, policy rules included, as if the kernel forwarded the packet itself.
#[inline(always)]
pub fn next_hop<F: Route>(
    skb: &mut Skb,
    packet: &Parsed<F>,
    next_hop: &mut NextHop,
) -> Result<(), Verdict> {
    let mut place = MaybeUninit::uninit();
    let question = FibLookup::zeroed(&mut place);
    F::ask(question, packet, &F::flow(skb)?);
    question.ifindex = skb.interface().0;
    // Any length makes the kernel tell the MTU, and the least does not have it judge: that is for `checks`.
    question.length_or_mtu = 1;
    let flags = FIB_FLAGS.load();
    if flags & BPF_FIB_LOOKUP_MARK != 0 {
        question.mark = skb.mark();
    } else if skb.mark() != 0 {
        return Err(Verdict::Punt(PuntReason::FibUnsupported));
    }
    let result = lookup(skb, question, flags);
    match result {
        // Without SKIP_NEIGH the kernel also says that it has no neighbour yet; it will resolve one.
        BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_NO_NEIGH => {
            *next_hop = NextHop {
                ifindex: Ifindex(question.ifindex),
                mtu: u32::from(question.length_or_mtu),
                family: u32::from(question.family),
                gateway: question.destination,
            };
            if result == BPF_FIB_LKUP_RET_NO_NEIGH {
                next_hop.mtu = mtu_without_neighbour(skb, packet, false);
            }
            trail::next_hop(skb, next_hop);
            Ok(())
        }
        BPF_FIB_LKUP_RET_BLACKHOLE => Err(Verdict::Punt(PuntReason::FibBlackhole)),
        BPF_FIB_LKUP_RET_UNREACHABLE => Err(Verdict::Punt(PuntReason::FibUnreachable)),
        BPF_FIB_LKUP_RET_PROHIBIT => Err(Verdict::Punt(PuntReason::FibProhibit)),
        BPF_FIB_LKUP_RET_NOT_FWDED => Err(Verdict::Punt(PuntReason::FibNotForwarded)),
        BPF_FIB_LKUP_RET_FWD_DISABLED => Err(Verdict::Punt(PuntReason::ForwardingDisabled)),
        // Lightweight tunnels, and whatever a newer kernel may answer.
        _ => Err(Verdict::Punt(PuntReason::FibUnsupported)),
    }
}

/// The MACs of the neighbour that a packet's next hop is, as they stand in a frame, where it leaves by this interface; and the
/// path's MTU in bytes. None where the kernel has not resolved it, or goes another way. For packets without a mark.
#[inline(always)]
pub fn neighbour<F: Route>(skb: &mut Skb, egress: Ifindex, macs: &mut [u32; 3]) -> Option<u32> {
    let flow = F::flow(skb).ok()?;
    let (source, destination) = F::ends(skb).ok()?;
    let mut place = MaybeUninit::uninit();
    let question = FibLookup::zeroed(&mut place);
    F::ask(
        question,
        &Parsed::with_addresses(source, destination),
        &flow,
    );
    question.ifindex = skb.interface().0;
    question.length_or_mtu = 1;
    let result = lookup(skb, question, FIB_FLAGS.load() & !BPF_FIB_LOOKUP_SKIP_NEIGH);
    if result != BPF_FIB_LKUP_RET_SUCCESS || question.ifindex != egress.0 {
        return None;
    }
    // The source comes first in the answer, and second in a frame.
    let [a, b, c] = [question.mark, question.macs[0], question.macs[1]].map(u32::to_be);
    *macs = [b << 16 | c >> 16, c << 16 | a >> 16, a << 16 | b >> 16].map(u32::from_be);
    Some(u32::from(question.length_or_mtu))
}

/// The MTU of the way of a packet, or of one to the address beside its destination, where the kernel says that it has no
/// neighbour there: then it tells the MTU to nobody but a packet that is too long. (Linux 6.3 and later are not asked for
/// neighbours.) A way that takes every packet has the longest.
#[inline(never)]
fn mtu_without_neighbour<F: Route>(skb: &mut Skb, packet: &Parsed<F>, next_door: bool) -> u32 {
    let longest = u16::MAX;
    let Ok(flow) = F::flow(skb) else {
        return u32::from(longest);
    };
    let mut place = MaybeUninit::uninit();
    let question = FibLookup::zeroed(&mut place);
    F::ask(question, packet, &flow);
    if next_door {
        F::go_next_door(question);
    }
    question.ifindex = skb.interface().0;
    question.length_or_mtu = longest;
    let flags = FIB_FLAGS.load();
    if flags & BPF_FIB_LOOKUP_MARK != 0 {
        question.mark = skb.mark();
    }
    match lookup(skb, question, flags) {
        BPF_FIB_LKUP_RET_FRAG_NEEDED => u32::from(question.length_or_mtu),
        _ => u32::from(longest),
    }
}

/// Whether the MTU that the FIB told is that of the path to this one destination, which the kernel has learnt from an
/// ICMP error, and not of the route. The FIB tells one like the other; but its neighbour among the addresses, by the same
/// route, has not learnt the same. Where that one goes another way, nothing is known. A route to a single address that
/// has an MTU of its own is known from user space ([`Features::route_mtu`]).
#[inline(always)]
pub fn is_of_this_path<F: Route>(skb: &mut Skb, packet: &Parsed<F>, found: &NextHop) -> bool {
    let mtu = match mtu_next_door(skb, packet, found.ifindex.0) {
        UNTOLD => mtu_without_neighbour(skb, packet, true),
        mtu => mtu,
    };
    mtu > found.mtu
}

/// No packet goes there by the same interface.
const ELSEWHERE: u32 = 0;
/// The kernel has no neighbour there, and so has told no MTU.
const UNTOLD: u32 = u32::MAX;

/// The MTU of the way to the address beside a packet's destination, where it leaves by this interface; [`ELSEWHERE`] or
/// [`UNTOLD`] else. What follows is asked by the caller, for the kernel counts the stack of calls within calls.
#[inline(never)]
fn mtu_next_door<F: Route>(skb: &mut Skb, packet: &Parsed<F>, interface: u32) -> u32 {
    let Ok(flow) = F::flow(skb) else {
        return ELSEWHERE;
    };
    let mut place = MaybeUninit::uninit();
    let question = FibLookup::zeroed(&mut place);
    F::ask(question, packet, &flow);
    F::go_next_door(question);
    question.ifindex = skb.interface().0;
    question.length_or_mtu = 1;
    let flags = FIB_FLAGS.load();
    if flags & BPF_FIB_LOOKUP_MARK != 0 {
        question.mark = skb.mark();
    }
    let result = lookup(skb, question, flags);
    if question.ifindex != interface {
        return ELSEWHERE;
    }
    match result {
        BPF_FIB_LKUP_RET_SUCCESS => u32::from(question.length_or_mtu),
        BPF_FIB_LKUP_RET_NO_NEIGH => UNTOLD,
        _ => ELSEWHERE,
    }
}

/// The interface by which the kernel would send to a packet's source, asked as its reverse-path filter asks
/// (`__fib_validate_source` in net/ipv4/fib_frontend.c): everything the other way round, as if it came in by the
/// interface that the packet is to leave by, and without its mark.
#[inline(always)]
pub fn way_back<F: Route>(skb: &mut Skb, packet: &Parsed<F>, egress: Ifindex) -> Option<Ifindex> {
    // The filter goes by the mark only with `src_valid_mark`; the kernel knows.
    if skb.mark() != 0 {
        return None;
    }
    let flow = F::flow(skb).ok()?;
    let mut place = MaybeUninit::uninit();
    let question = FibLookup::zeroed(&mut place);
    F::ask(question, packet, &flow);
    core::mem::swap(&mut question.source, &mut question.destination);
    core::mem::swap(&mut question.source_port, &mut question.destination_port);
    question.ifindex = egress.0;
    // Any length, so that the packet is not measured against the device.
    question.length_or_mtu = 1;
    let result = lookup(skb, question, FIB_FLAGS.load());
    match result {
        BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_NO_NEIGH => Some(Ifindex(question.ifindex)),
        _ => None,
    }
}

/// The node's address for what it sends to a packet's source by itself; `None` where the kernel does not tell (before Linux
/// 6.7). In the words of the FIB.
#[inline(always)]
pub fn own_address_towards(skb: &Skb, packet: &Parsed<V6>) -> Option<[u32; 4]> {
    let mut place = MaybeUninit::uninit();
    let question = FibLookup::zeroed(&mut place);
    question.family = AF_INET6;
    question.destination = words(packet.source);
    question.ifindex = skb.interface().0;
    match lookup(skb, question, FIB_FLAGS.load() | BPF_FIB_LOOKUP_SRC) {
        BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_NO_NEIGH => Some(question.source),
        _ => None,
    }
}
