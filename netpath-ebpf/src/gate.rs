//! What has to be known of an interface for every packet: a byte each, in an array, so that it costs next to nothing.
//!
//! Stage 0: is all written that the next stages go by? Until then an endpoint's packets are dropped, whatever entries
//! there are already. Only endpoints are asked: to drop what an uplink brings would cut the machine off, so an
//! uplink's entry is complete before its program is attached.
//!
//! After the source check: what somebody else put on an interface (a VRF, a queueing discipline, a filter, ...) would be
//! passed by, and so the kernel gets the packet.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap},
    macros::btf_map,
};
use netpath_common::{
    DropReason, EndpointEntry, GATE_WORDS, Gate, GateWord, Ifindex, InterfaceEntry, PuntReason,
    Verdict, gate_word,
};

use crate::{access::Skb, family::Family, once::once};

/// The interfaces that programs are attached to, by ifindex: two per endpoint would be generous.
#[btf_map(name = "interfaces")]
pub static INTERFACES: HashMap<Ifindex, InterfaceEntry, 131_072, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// The gates of eight interfaces in each word.
#[btf_map(name = "gates")]
pub static GATES: Array<GateWord, { GATE_WORDS as usize }, { BPF_F_MMAPABLE as usize }> =
    Array::new();

/// The gate of an interface; closed where netpath knows of none.
#[inline(always)]
pub(crate) fn of(interface: Ifindex) -> Gate {
    match gate_word(interface) {
        Some(word) => GATES.get(word).map_or(Gate(0), |word| word.gate(interface)),
        None => Gate(gate_of_high_index(interface.0) as u8),
    }
}

/// The gate of an interface for which there is none in the array.
#[inline(always)]
fn of_high_index(interface: u32) -> u32 {
    // SAFETY: a few numbers are read, and at once.
    let entry = unsafe { INTERFACES.get(Ifindex(interface)) };
    entry.map_or(0, |entry| entry.gate().0.into())
}

once!(fn gate_of_high_index(interface: u32) -> u32 = of_high_index);

/// The gate that a packet came in by, where its interface's data is complete.
#[inline(always)]
pub fn complete(skb: &Skb) -> Result<Gate, Verdict> {
    let gate = of(skb.interface());
    if gate.has(Gate::READY) {
        Ok(gate)
    } else {
        Err(Verdict::Drop(DropReason::NotReady))
    }
}

/// What comes in by this gate, of this family, is not the kernel's.
#[inline(always)]
pub fn lets_in<F: Family>(skb: &Skb, gate: Gate) -> Result<(), Verdict> {
    if !gate.has(Gate::PUNT_INGRESS) {
        return Ok(());
    }
    let number = gate_ingress_reason(skb.interface().0);
    if number == u32::from(F::NOT_FORWARDED_OTHER.number()) {
        return Ok(());
    }
    Err(punt(number))
}

/// As [`lets_in`], for the uplink that a packet came in by.
#[inline(always)]
pub fn uplink_lets_in<F: Family>(skb: &Skb) -> Result<(), Verdict> {
    lets_in::<F>(skb, of(skb.interface()))
}

/// Whether packets come in by this interface without a header of the link's.
#[inline(always)]
pub fn is_bare(skb: &Skb) -> bool {
    of(skb.interface()).has(Gate::BARE)
}

/// The gate of an interface that leads to other nodes and is complete, where what leaves by it is not the kernel's.
#[inline(always)]
pub fn lets_out(egress: Ifindex) -> Result<Gate, Verdict> {
    let gate = of(egress);
    if !gate.has_all(Gate::UPLINK | Gate::READY) {
        return Err(Verdict::Punt(PuntReason::NotAnUplink));
    }
    if gate.has(Gate::PUNT_EGRESS) {
        return Err(punt(gate_egress_reason(egress.0)));
    }
    Ok(gate)
}

/// What goes between this endpoint or prefix and a source with these reasons is not the kernel's.
#[inline(always)]
pub fn lets_between(entry: &EndpointEntry, source: u16) -> Result<(), Verdict> {
    if entry.punt_to != 0 {
        return Err(punt(entry.punt_to.into()));
    }
    let either = entry.punt_between | source;
    if either & EndpointEntry::ALONE != 0 || entry.punt_between != 0 && source != 0 {
        return Err(between(entry.between(), source & !EndpointEntry::ALONE));
    }
    Ok(())
}

#[inline(always)]
fn ingress_reason(interface: u32) -> u32 {
    // SAFETY: one number is read, and at once.
    let entry = unsafe { INTERFACES.get(Ifindex(interface)) };
    entry.map_or(0, |entry| entry.punt_ingress.into())
}

once!(fn gate_ingress_reason(interface: u32) -> u32 = ingress_reason);

#[inline(always)]
fn egress_reason(interface: u32) -> u32 {
    // SAFETY: as above.
    let entry = unsafe { INTERFACES.get(Ifindex(interface)) };
    entry.map_or(0, |entry| entry.punt_egress.into())
}

once!(fn gate_egress_reason(interface: u32) -> u32 = egress_reason);

/// The destination's, if it has one.
#[inline(always)]
fn between(own: u16, source: u16) -> Verdict {
    punt(if own != 0 { own } else { source }.into())
}

#[inline(never)]
fn punt(number: u32) -> Verdict {
    named(number as u16)
}

/// A number that is none comes of an entry that was damaged: the packet is the kernel's all the same.
#[inline(always)]
fn named(number: u16) -> Verdict {
    Verdict::Punt(PuntReason::from_number(number).unwrap_or(PuntReason::Rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_with_a_reason_it_is_the_kernels() {
        let ipsec = PuntReason::Ipsec.number();
        let entry = |to, between| EndpointEntry {
            punt_to: to,
            punt_between: between,
            ..EndpointEntry::NODE
        };
        let kernels = Err(Verdict::Punt(PuntReason::Ipsec));
        assert_eq!(lets_between(&entry(0, 0), 0), Ok(()));
        assert_eq!(lets_between(&entry(0, 0), ipsec), Ok(()));
        assert_eq!(lets_between(&entry(0, ipsec), 0), Ok(()));
        assert_eq!(lets_between(&entry(0, ipsec), ipsec), kernels);
        assert_eq!(lets_between(&entry(ipsec, 0), 0), kernels);
        // The first counts.
        let shaped = PuntReason::Shaped.number();
        let verdict = lets_between(&entry(shaped, ipsec), ipsec);
        assert_eq!(verdict, Err(Verdict::Punt(PuntReason::Shaped)));
    }

    #[test]
    fn of_one_that_takes_no_other_it_is_the_kernels() {
        let entry = |punt_between| EndpointEntry {
            punt_between,
            ..EndpointEntry::NODE
        };
        let (rules, ipsec) = (PuntReason::Rules.number(), PuntReason::Ipsec.number());
        let alone = rules | EndpointEntry::ALONE;
        let kernels = |reason| Err(Verdict::Punt(reason));
        for (own, source, verdict) in [
            (alone, 0, kernels(PuntReason::Rules)),
            (0, alone, kernels(PuntReason::Rules)),
            (alone, !EndpointEntry::ALONE, kernels(PuntReason::Rules)),
            (ipsec, alone, kernels(PuntReason::Ipsec)),
            (0, !EndpointEntry::ALONE, Ok(())),
        ] {
            assert_eq!(lets_between(&entry(own), source), verdict, "{own} {source}");
        }
        for &reason in PuntReason::ALL {
            assert_eq!(reason.number() & EndpointEntry::ALONE, 0, "{reason:?}");
        }
    }

    #[test]
    fn a_number_that_is_no_reason_punts_all_the_same() {
        assert_eq!(named(0), Verdict::Punt(PuntReason::Rules));
        assert_eq!(named(7_777), Verdict::Punt(PuntReason::Rules));
        for &reason in PuntReason::ALL {
            assert_eq!(named(reason.number()), Verdict::Punt(reason));
        }
    }
}
