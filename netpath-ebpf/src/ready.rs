//! Stage 0: is all written that the next stages go by? Until then an endpoint's packets are dropped, whatever entries
//! there are already. Only endpoints are asked: to drop what an uplink brings would cut the machine off, so an
//! uplink's entry is complete before its program is attached.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap},
    macros::btf_map,
};
use netpath_common::{
    DropReason, Ifindex, InterfaceEntry, InterfaceState, READY_WORDS, ReadyWord, Verdict,
    ready_bit, ready_word,
};

use crate::access::Skb;

/// The interfaces that programs are attached to, by ifindex: two per endpoint would be generous.
#[btf_map(name = "interfaces")]
pub static INTERFACES: HashMap<Ifindex, InterfaceEntry, 131_072, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// A bit for each interface that is ready, by ifindex: an array, because every packet is asked for it.
#[btf_map(name = "ready")]
pub static READY: Array<ReadyWord, { READY_WORDS as usize }> = Array::new();

/// The interface's data is complete.
#[inline(always)]
pub fn is_complete(skb: &Skb) -> Result<(), Verdict> {
    let interface = skb.interface();
    let ready = match ready_word(interface) {
        Some(word) => READY
            .get(word)
            .is_some_and(|word| word.bits & ready_bit(interface) != 0),
        // SAFETY: only the state is read, and at once.
        None => unsafe { INTERFACES.get(interface) }
            .is_some_and(|entry| entry.state == InterfaceState::Ready as u32),
    };
    if ready {
        Ok(())
    } else {
        Err(Verdict::Drop(DropReason::NotReady))
    }
}
