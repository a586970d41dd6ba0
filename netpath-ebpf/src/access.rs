//! The only raw access to packets and to `__sk_buff`.
//!
//! A [`Header`] borrows the [`Skb`] it was taken from, and everything that may move the packet's bytes
//! takes `&mut Skb`: the borrow checker refuses a pointer that outlived its packet, before the verifier
//! gets to see it.
//!
//! Offsets are those of an Ethernet frame. Where packets come without a header of the link's they begin at the network
//! header, and are read as if an Ethernet header stood before it ([`Skb::bare`]): only to read that itself is not possible.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC},
    helpers::generated::{
        bpf_csum_diff, bpf_csum_update, bpf_skb_adjust_room, bpf_skb_change_head,
        bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_pull_data,
    },
    programs::TcContext,
};
use netpath_common::Ifindex;

use crate::ends::{self, Transport};

/// Length of an Ethernet header in bytes.
pub const ETHERNET: usize = 14;

/// Whom a frame's destination MAC means, as the kernel judged it on arrival: `skb->pkt_type`, numbered in
/// `linux/if_packet.h`.
#[derive(Clone, Copy)]
pub enum LinkDestination {
    /// `PACKET_HOST`: the interface it came in by.
    ThisHost,
    /// `PACKET_BROADCAST`.
    Broadcast,
    /// `PACKET_MULTICAST`.
    Multicast,
    /// `PACKET_OTHERHOST`, and whatever else there may be.
    OtherHost,
}

/// The sign of a packet of which the fast path has decided, in `tc_index`, which has 16 bits: the letters `np`. The kernel keeps
/// it when it forwards, translates, defragments and fragments; nothing else in today's kernels uses it.
const DECIDED: u32 = 0x6e70;
/// The sign of one that is the kernel's because it goes to what is not routed.
const ELSEWHERE: u32 = DECIDED + 1;

/// The helper did not do its work, mostly for lack of memory. The packet may be read no further.
pub struct HelperFailed;

/// Why the first bytes of a frame cannot be read.
pub enum Unreadable {
    /// It ends before.
    TooShort,
    /// The kernel could not bring them together. The packet may be read no further.
    NoMemory,
}

/// What can be asked of a packet without moving its bytes: an [`Skb`]'s, or on the host a test's.
pub trait View {
    /// Length of the frame in bytes, Ethernet header included, be it there or not.
    fn length(&self) -> u32;

    /// Whether it stands for several packets that are yet to be cut.
    fn is_gso(&self) -> bool;

    /// A copy of `N` bytes at any offset from the start of the frame; `None` where it ends before.
    fn copy<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// What is behind the header of the IPv6 packet that begins so many bytes from the start of the frame.
    fn transport_v6(&self, at: u32) -> Option<Transport>;
}

/// The kernel's for a program on a packet.
pub type Context = *mut __sk_buff;

/// The packet that the program runs on.
pub struct Skb {
    ctx: TcContext,
    /// How much of the frame is not there, in bytes: an Ethernet header, or nothing.
    missing: usize,
}

impl Skb {
    /// Takes over a program's context.
    #[inline(always)]
    pub fn new(ctx: TcContext) -> Self {
        Self { ctx, missing: 0 }
    }

    /// A packet with an Ethernet header.
    #[inline(always)]
    pub fn frame(raw: Context) -> Self {
        Self::new(TcContext::new(raw))
    }

    /// A packet that has no header of the link's.
    #[inline(always)]
    pub fn bare(raw: Context) -> Self {
        Self {
            ctx: TcContext::new(raw),
            missing: ETHERNET,
        }
    }

    /// Whether it has an Ethernet header.
    #[inline(always)]
    pub fn has_ethernet(&self) -> bool {
        self.missing == 0
    }

    /// What packet it is, as the kernel knows it: an EtherType in network order.
    #[inline(always)]
    pub fn protocol(&self) -> u16 {
        // SAFETY: as in `interface`.
        unsafe { (*self.raw()).protocol as u16 }
    }

    /// A packet of which so much is missing.
    #[inline(always)]
    pub fn of(raw: Context, missing: u32) -> Self {
        // One of two, whatever it is: the verifier knows no more of it than what is seen here.
        match missing {
            0 => Self::frame(raw),
            _ => Self::bare(raw),
        }
    }

    /// How much of the frame is not there, in bytes.
    #[inline(always)]
    pub fn missing(&self) -> u32 {
        self.missing as u32
    }

    /// The kernel's context.
    #[inline(always)]
    pub fn raw(&self) -> Context {
        self.ctx.as_ptr().cast()
    }

    /// The context, for helpers that take one and leave the packet's bytes alone.
    #[inline(always)]
    pub fn context(&self) -> &TcContext {
        &self.ctx
    }

    /// Where the kernel has it: a context is its `struct sk_buff`.
    #[inline(always)]
    pub fn address(&self) -> u64 {
        self.raw() as u64
    }

    /// The interface whose hook this is.
    #[inline(always)]
    pub fn interface(&self) -> Ifindex {
        // SAFETY: the kernel passes a valid context for the length of the program.
        Ifindex(unsafe { (*self.raw()).ifindex })
    }

    /// The interface of this namespace that the packet came in by; 0 for what was sent from here.
    #[inline(always)]
    pub fn arrived_by(&self) -> Ifindex {
        // SAFETY: as in `interface`.
        Ifindex(unsafe { (*self.raw()).ingress_ifindex })
    }

    /// Whom the frame's destination MAC means.
    #[inline(always)]
    pub fn link_destination(&self) -> LinkDestination {
        // SAFETY: as in `interface`.
        match unsafe { (*self.raw()).pkt_type } {
            0 => LinkDestination::ThisHost,
            1 => LinkDestination::Broadcast,
            2 => LinkDestination::Multicast,
            _ => LinkDestination::OtherHost,
        }
    }

    /// The VLAN tag that was taken out of the frame, if one was: priority and VLAN id, in host order.
    #[inline(always)]
    pub fn vlan_tag(&self) -> Option<u16> {
        // SAFETY: as in `interface`.
        let (present, tag) = unsafe { ((*self.raw()).vlan_present, (*self.raw()).vlan_tci) };
        (present != 0).then_some(tag as u16)
    }

    /// The packet's mark.
    #[inline(always)]
    pub fn mark(&self) -> u32 {
        // SAFETY: as in `interface`.
        unsafe { (*self.raw()).mark }
    }

    /// Whether it has the sign that no more is to be decided of its connection.
    #[inline(always)]
    pub fn is_decided(&self) -> bool {
        // SAFETY: as in `interface`.
        unsafe { (*self.raw()).tc_index == DECIDED }
    }

    /// Whether it has the sign that it was for what is not routed when it came in.
    #[inline(always)]
    pub fn was_elsewhere(&self) -> bool {
        // SAFETY: as in `interface`.
        unsafe { (*self.raw()).tc_index == ELSEWHERE }
    }

    /// Gives it that sign.
    #[inline(always)]
    pub fn set_elsewhere(&mut self) {
        // SAFETY: as in `set_priority`.
        unsafe { (*self.raw()).tc_index = ELSEWHERE };
    }

    /// Gives it the sign that no more is to be decided, or takes all signs away: what somebody else put there says nothing.
    #[inline(always)]
    pub fn set_decided(&mut self, is_decided: bool) {
        let sign = if is_decided { DECIDED } else { 0 };
        // SAFETY: as in `set_priority`.
        unsafe { (*self.raw()).tc_index = sign };
    }

    /// Sets the packet's priority in the kernel, by which queueing disciplines and VLANs go.
    #[inline(always)]
    pub fn set_priority(&mut self, priority: u32) {
        // SAFETY: the context is valid; the verifier turns the access into one of the packet's structure.
        unsafe { (*self.raw()).priority = priority };
    }

    /// What a run for a test can say of its packet.
    #[inline(always)]
    pub fn control(&self) -> Control {
        Control(self.raw())
    }

    /// Clears the mark, which must not follow the packet into another namespace.
    #[inline(always)]
    pub fn clear_mark(&mut self) {
        self.ctx.set_mark(0);
    }

    /// The first `N` bytes of the frame, if they can be read directly.
    #[inline(always)]
    pub fn header<const N: usize>(&self) -> Option<Header<'_, N>> {
        let start = self.ctx.data() - self.missing;
        if start + N > self.ctx.data_end() {
            return None;
        }
        Some(Header {
            start: start as *mut u8,
            packet: core::marker::PhantomData,
        })
    }

    /// The first `N` bytes of the frame, made directly readable if they are not yet; and the packet itself, which is only
    /// to be looked at as long as they are.
    #[inline(always)]
    pub fn readable<const N: usize>(&mut self) -> Result<(&Self, Header<'_, N>), Unreadable> {
        let start = match self.header::<N>() {
            Some(header) => header.start,
            None if self.length() < N as u32 => return Err(Unreadable::TooShort),
            None => {
                self.pull(N as u32).map_err(|_| Unreadable::NoMemory)?;
                self.header::<N>().ok_or(Unreadable::NoMemory)?.start
            }
        };
        let packet = core::marker::PhantomData;
        Ok((self, Header { start, packet }))
    }

    /// The first `N` bytes of the frame, to be written.
    #[inline(always)]
    pub fn header_mut<const N: usize>(&mut self) -> Option<HeaderMut<'_, N>> {
        let header = self.header::<N>()?;
        Some(HeaderMut(Header {
            start: header.start,
            packet: core::marker::PhantomData,
        }))
    }

    /// Makes the first `length` bytes directly readable.
    #[inline(always)]
    fn pull(&mut self, length: u32) -> Result<(), HelperFailed> {
        let length = length - self.missing as u32;
        // SAFETY: the context is valid, and `&mut self` proves that no header of it is held.
        match unsafe { bpf_skb_pull_data(self.raw(), length) } {
            0 => Ok(()),
            _ => Err(HelperFailed),
        }
    }

    /// Cuts the frame to `length` bytes.
    #[inline(always)]
    pub fn trim(&mut self, length: u32) -> Result<(), HelperFailed> {
        let length = length - self.missing as u32;
        // SAFETY: as in `pull`.
        match unsafe { bpf_skb_change_tail(self.raw(), length, 0) } {
            0 => Ok(()),
            _ => Err(HelperFailed),
        }
    }

    /// Puts an Ethernet header in front of a packet that has none, with this EtherType in network order and no MACs yet.
    /// After a failure it is as it was.
    #[inline(always)]
    pub fn add_ethernet(&mut self, ether_type: u16) -> Result<(), HelperFailed> {
        // SAFETY: as in `pull`.
        if unsafe { bpf_skb_change_head(self.raw(), ETHERNET as u32, 0) } != 0 {
            return Err(HelperFailed);
        }
        self.missing = 0;
        let mut header = self.header_mut::<ETHERNET>().ok_or(HelperFailed)?;
        header.set_half::<12>(ether_type);
        Ok(())
    }

    /// Makes room for `length` bytes behind the Ethernet header.
    #[inline(always)]
    pub fn make_room(&mut self, length: u32) -> Result<(), HelperFailed> {
        let (length, mode) = (length as i32, BPF_ADJ_ROOM_MAC);
        // SAFETY: as in `pull`.
        match unsafe { bpf_skb_adjust_room(self.raw(), length, mode, 0) } {
            0 => Ok(()),
            _ => Err(HelperFailed),
        }
    }

    /// The first `N` bytes of the frame, made writable.
    #[inline(always)]
    pub fn writable<const N: usize>(&mut self) -> Result<HeaderMut<'_, N>, HelperFailed> {
        self.pull(N as u32)?;
        self.header_mut().ok_or(HelperFailed)
    }

    /// How many bytes of payload each packet has that it stands for; 0 where it is one packet.
    #[inline(always)]
    pub fn segment_payload(&self) -> u32 {
        // SAFETY: as in `interface`.
        unsafe { (*self.raw()).gso_size }
    }

    /// Adds a difference (a 16-bit one's complement sum in network order) to the checksum that a network
    /// card computed over the packet; a packet without one needs nothing.
    #[inline(always)]
    pub fn update_device_checksum(&mut self, difference: u16) {
        // SAFETY: the context is valid; the helper touches no packet byte. Its error only says that the
        // packet carries no such checksum.
        let _no_such_checksum = unsafe { bpf_csum_update(self.raw(), u32::from(difference)) };
    }
}

/// What a run for a test can say of its packet (`cb`), and what a packet of the wire has there by chance. It is passed on by value, so
/// that the packet itself needs no place on the stack.
#[derive(Clone, Copy)]
pub struct Control(Context);

impl Control {
    /// The first word.
    #[inline(always)]
    pub fn sign(self) -> u32 {
        self.word::<0>()
    }

    /// The other words.
    #[inline(always)]
    pub fn secret(self) -> [u32; 4] {
        // One by one: the verifier takes no pointer into the context.
        [
            self.word::<1>(),
            self.word::<2>(),
            self.word::<3>(),
            self.word::<4>(),
        ]
    }

    #[inline(always)]
    fn word<const AT: usize>(self) -> u32 {
        // SAFETY: as in `Skb::interface`.
        unsafe { (&raw const (*self.0).cb[AT]).read_volatile() }
    }
}

impl View for Skb {
    /// `skb->len`, and what is missing.
    #[inline(always)]
    fn length(&self) -> u32 {
        self.ctx.len() + self.missing as u32
    }

    #[inline(always)]
    fn is_gso(&self) -> bool {
        // SAFETY: as in `interface`.
        unsafe { (*self.raw()).gso_size != 0 }
    }

    /// Also of what is not directly readable; for what few packets need.
    #[inline(always)]
    fn copy<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        let to = bytes.as_mut_ptr().cast();
        let offset = offset - self.missing as u32;
        // SAFETY: the context is valid, and `bytes` has room for N bytes.
        match unsafe { bpf_skb_load_bytes(self.raw().cast(), offset, to, N as u32) } {
            // SAFETY: the helper has written them all.
            0 => Some(unsafe { bytes.assume_init() }),
            _ => None,
        }
    }

    #[inline(always)]
    fn transport_v6(&self, at: u32) -> Option<Transport> {
        Transport::unpacked(ends::ends_transport_v6(self, at))
    }
}

/// The one's complement sum of words on the stack, not yet folded.
#[inline(always)]
pub fn sum_of<const N: usize>(words: &[u32; N]) -> u32 {
    let at = words.as_ptr().cast_mut();
    // SAFETY: the helper only reads, as many bytes as there are.
    unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, at, (N * 4) as u32, 0) as u32 }
}

/// The first `N` bytes of a frame, checked to be there.
///
/// Reads are as wide as their type whatever the address: alignment on the BPF machine is the verifier's
/// to judge, and it accepts this on every architecture with efficient unaligned access. On the host they say that
/// they are unaligned.
#[derive(Clone, Copy)]
pub struct Header<'skb, const N: usize> {
    start: *mut u8,
    packet: core::marker::PhantomData<&'skb Skb>,
}

impl<const N: usize> Header<'_, N> {
    /// The byte at `OFFSET`.
    #[inline(always)]
    pub fn byte<const OFFSET: usize>(self) -> u8 {
        self.load::<u8, OFFSET>()
    }

    /// Two bytes at `OFFSET`, as they stand in memory.
    #[inline(always)]
    pub fn half<const OFFSET: usize>(self) -> u16 {
        self.load::<u16, OFFSET>()
    }

    /// Four bytes at `OFFSET`, as they stand in memory.
    #[inline(always)]
    pub fn word<const OFFSET: usize>(self) -> u32 {
        self.load::<u32, OFFSET>()
    }

    /// Eight bytes at `OFFSET`, as they stand in memory.
    #[inline(always)]
    pub fn double<const OFFSET: usize>(self) -> u64 {
        self.load::<u64, OFFSET>()
    }

    #[inline(always)]
    fn load<T: Copy, const OFFSET: usize>(self) -> T {
        const { assert!(OFFSET + size_of::<T>() <= N) };
        // SAFETY: `start..start + N` was checked against the packet's end, the packet is borrowed for as
        // long as this exists, and T is an integer. For alignment see the type.
        unsafe {
            let at = self.start.add(OFFSET).cast::<T>();
            if cfg!(target_arch = "bpf") {
                *at
            } else {
                at.read_unaligned()
            }
        }
    }
}

/// The first `N` bytes of a frame, checked to be there and writable.
pub struct HeaderMut<'skb, const N: usize>(Header<'skb, N>);

impl<'skb, const N: usize> HeaderMut<'skb, N> {
    /// To read.
    #[inline(always)]
    pub fn read(&self) -> Header<'skb, N> {
        self.0
    }

    /// Writes one byte at `OFFSET`.
    #[inline(always)]
    pub fn set_byte<const OFFSET: usize>(&mut self, value: u8) {
        self.store::<u8, OFFSET>(value);
    }

    /// Writes two bytes at `OFFSET`, as they stand in memory.
    #[inline(always)]
    pub fn set_half<const OFFSET: usize>(&mut self, value: u16) {
        self.store::<u16, OFFSET>(value);
    }

    /// Writes four bytes at `OFFSET`, as they stand in memory.
    #[inline(always)]
    pub fn set_word<const OFFSET: usize>(&mut self, value: u32) {
        self.store::<u32, OFFSET>(value);
    }

    /// The one's complement sum of `LENGTH` bytes from `OFFSET` on, not yet folded, on top of another.
    #[inline(always)]
    pub fn sum<const OFFSET: usize, const LENGTH: usize>(&self, seed: u32) -> u32 {
        const { assert!(OFFSET + LENGTH <= N && LENGTH.is_multiple_of(4)) };
        // SAFETY: within what was checked, and the helper only reads.
        let sum = unsafe {
            let at = self.0.start.add(OFFSET).cast();
            bpf_csum_diff(core::ptr::null_mut(), 0, at, LENGTH as u32, seed)
        };
        sum as u32
    }

    #[inline(always)]
    fn store<T: Copy, const OFFSET: usize>(&mut self, value: T) {
        const { assert!(OFFSET + size_of::<T>() <= N) };
        // SAFETY: as in `Header::load`; the packet is borrowed exclusively.
        unsafe {
            let at = self.0.start.add(OFFSET).cast::<T>();
            if cfg!(target_arch = "bpf") {
                *at = value;
            } else {
                at.write_unaligned(value);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A frame of a test's own.
    #[derive(Clone)]
    pub struct Frame {
        /// From the destination MAC on.
        pub bytes: Vec<u8>,
        /// Whether it stands for several packets.
        pub is_gso: bool,
    }

    impl Frame {
        /// One packet.
        pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
            Self {
                bytes: bytes.into(),
                is_gso: false,
            }
        }
    }

    impl View for Frame {
        fn length(&self) -> u32 {
            self.bytes.len() as u32
        }

        fn is_gso(&self) -> bool {
            self.is_gso
        }

        fn copy<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
            let start = offset as usize;
            self.bytes.get(start..start + N)?.try_into().ok()
        }

        fn transport_v6(&self, at: u32) -> Option<Transport> {
            ends::transport_v6(self, at)
        }
    }

    impl<'skb, const N: usize> HeaderMut<'skb, N> {
        /// Of bytes of a test's own.
        pub fn of(bytes: &'skb mut [u8; N]) -> Self {
            Self(Header {
                start: bytes.as_mut_ptr(),
                packet: core::marker::PhantomData,
            })
        }
    }

    #[test]
    fn fields_are_read_and_written_where_they_stand() {
        let mut bytes: [u8; 9] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
        let mut header = HeaderMut::of(&mut bytes);
        assert_eq!(header.read().byte::<8>(), 8);
        // As they stand in memory, whatever the alignment.
        assert_eq!(header.read().half::<1>().to_ne_bytes(), [1, 2]);
        assert_eq!(header.read().word::<5>().to_ne_bytes(), [5, 6, 7, 8]);
        header.set_byte::<0>(0xf0);
        header.set_half::<1>(u16::from_ne_bytes([0xf1, 0xf2]));
        header.set_word::<5>(u32::from_ne_bytes([0xf5, 0xf6, 0xf7, 0xf8]));
        assert_eq!(bytes, [0xf0, 0xf1, 0xf2, 3, 4, 0xf5, 0xf6, 0xf7, 0xf8]);
    }
}
