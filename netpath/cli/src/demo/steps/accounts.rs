//! Step 5: the per-hop counters of step 4's traffic, and whether they add up.

use netpath::netfilter::Count;
use netpath_common::{Family, Outcome};

use super::{
    super::{
        CountedHop, CountedInterface, DemoError,
        cast::header,
        measure::PAYLOAD,
        report::{Check, Event},
    },
    across::datagrams,
    story::Story,
};

/// Ethernet's header and UDP's, in bytes.
const ETHERNET: u64 = 14;
const UDP: u64 = 8;

pub fn tell(story: &mut Story<'_>) -> Result<(), DemoError> {
    let mut interfaces: Vec<CountedInterface> = Vec::new();
    for (family, before, after) in std::mem::take(&mut story.counted) {
        let hops = after.hops_since(&before, family);
        story.report.hops.extend(hops);
        add(&mut interfaces, after.interfaces_since(&before));
    }
    story.report.interfaces = interfaces;

    story.command("netpath stats    # what moved during step 4");
    let hops = story.report.hops.clone();
    story.tell(Event::Hops(&hops));
    story.say(&formula(story));
    for family in Family::ALL {
        passages(story, family);
    }
    let interfaces = story.report.interfaces.clone();
    story.tell(Event::Interfaces(&interfaces));
    interfaces.iter().for_each(|counted| law(story, counted));
    Ok(())
}

/// How long each packet is, in words.
fn formula(story: &Story<'_>) -> String {
    let [v4, v6] = Family::ALL.map(header);
    format!(
        "bytes = {} x ({PAYLOAD} payload + {UDP} UDP + {v4} IPv4 or {v6} IPv6 + {ETHERNET} Ethernet)",
        datagrams(story)
    )
}

/// Every datagram passes each node once, by the way that it should.
fn passages(story: &mut Story<'_>, family: Family) {
    let packets = datagrams(story);
    let expected = Count {
        packets,
        bytes: packets * (PAYLOAD as u64 + UDP + header(family) + ETHERNET),
    };
    let cast = story.cast;
    let near = Passage {
        node: cast.near.name.as_ref(),
        ingress: cast.sender.host_dev.as_ref(),
        egress: cast.near_uplink.dev.as_ref(),
        outcome: Outcome::RedirectNeigh,
    };
    let far = Passage {
        node: cast.far.name.as_ref(),
        ingress: cast.far_uplink.dev.as_ref(),
        egress: cast.remote.host_dev.as_ref(),
        outcome: Outcome::RedirectPeer,
    };
    for (id, passage) in [("redirected_near", near), ("redirected_far", far)] {
        let seen = passage.counted(&story.report.hops, family);
        story.check(Check::same(id, family, passage.text(), expected, seen));
    }
}

/// The law, against a count that is not netpath's.
fn law(story: &mut Story<'_>, counted: &CountedInterface) {
    let what = format!(
        "redirected + punted + dropped on {} of {} is what the kernel received",
        counted.interface, counted.node
    );
    let sum = counted.redirected + counted.punted + counted.dropped;
    let received = counted.kernel_rx_packets;
    story.check(Check::same("law", None, what, received, sum));
}

/// A way through a node.
struct Passage<'a> {
    node: &'a str,
    ingress: &'a str,
    egress: &'a str,
    outcome: Outcome,
}

impl Passage<'_> {
    fn counted(&self, hops: &[CountedHop], family: Family) -> Count {
        let mut sum = Count::default();
        for CountedHop { family: of, hop } in hops {
            if *of == family
                && hop.node == self.node
                && hop.ingress == self.ingress
                && hop.egress.as_deref() == Some(self.egress)
                && hop.outcome == self.outcome
            {
                sum.packets += hop.packets;
                sum.bytes += hop.bytes;
            }
        }
        sum
    }

    fn text(&self) -> String {
        let Self {
            node,
            ingress,
            egress,
            outcome,
        } = self;
        format!("{} on {node}, {ingress} to {egress}", outcome.name())
    }
}

fn add(sums: &mut Vec<CountedInterface>, more: Vec<CountedInterface>) {
    for counted in more {
        let same = sums
            .iter_mut()
            .find(|sum| sum.node == counted.node && sum.interface == counted.interface);
        let Some(sum) = same else {
            sums.push(counted);
            continue;
        };
        sum.kernel_rx_packets += counted.kernel_rx_packets;
        sum.redirected += counted.redirected;
        sum.punted += counted.punted;
        sum.dropped += counted.dropped;
    }
}
