//! The order of the stages, and nothing else.

use netpath_common::{
    EndpointEntry, Gate, HopKey, Ifindex, PuntReason, RouteEntry, RouteKind, Verdict,
};

use crate::{
    access::Skb,
    checks,
    connections::{self, Connections},
    datagrams::{self, Datagrams},
    destination,
    family::{V4, V6},
    features::Features,
    fib::{self, NextHop, Route},
    gate,
    once::once,
    parse::{self, Frame, Network, Parsed, Place},
    reverse_path,
    rewrite::{self, Hop},
    shadow,
    side::{self, Sided},
    source, trail,
};

/// All that a family brings to the stages.
trait Routed: Sided + Connections + Datagrams + Route + Hop {}

impl<F: Sided + Connections + Datagrams + Route + Hop> Routed for F {}

/// What is to be done with a packet.
///
/// The egress is that of a redirect, or of one that shadow mode keeps from being done; of everything else it says nothing. It
/// is a plain structure beside the verdict rather than its payload, because copying an enum copies the bytes that its variant
/// leaves uninitialised too, and the verifier refuses to read those.
pub struct Decision {
    /// What becomes of the packet.
    pub verdict: Verdict,
    /// Where it goes, if it is redirected.
    pub egress: NextHop,
}

impl Decision {
    #[inline(always)]
    fn new(verdict: Result<Verdict, Verdict>, egress: NextHop) -> Self {
        let verdict = either(verdict);
        Self { verdict, egress }
    }

    /// The same; what shadow mode does not drop is the kernel's.
    #[inline(always)]
    pub fn spared(self, skb: &Skb) -> Self {
        let verdict = shadow::spared(skb, self.verdict);
        Self { verdict, ..self }
    }

    /// Whether nothing of the packet is to be noted at an egress: it is sent on, or the kernel gets it for itself alone, or its
    /// connection is noted. Of one with options that was said before the destination was asked for.
    #[inline(always)]
    pub fn is_final(&self) -> bool {
        use PuntReason::{KernelConnection, MtuExceeded, NoMemory, PaddedGso, Shadow, TtlExceeded};
        matches!(
            self.verdict,
            Verdict::RedirectNeigh
                | Verdict::Punt(
                    KernelConnection | MtuExceeded | NoMemory | PaddedGso | Shadow | TtlExceeded
                )
        )
    }

    /// Whether it goes to what is not routed. Should it be when the kernel sends it on, that has translated it.
    #[inline(always)]
    pub fn goes_elsewhere(&self) -> bool {
        use PuntReason::{NoRoute, NodeAddress};
        matches!(self.verdict, Verdict::Punt(NoRoute | NodeAddress))
    }

    /// The row that this packet is counted in.
    #[inline(always)]
    pub fn hop(&self, skb: &Skb) -> HopKey {
        let (ingress, egress) = match self.verdict {
            Verdict::RedirectPeer | Verdict::RedirectNeigh | Verdict::Punt(PuntReason::Shadow) => {
                (skb.interface(), self.egress.ifindex)
            }
            Verdict::Punt(_) | Verdict::Drop(_) => (skb.interface(), Ifindex(0)),
            Verdict::Deliver => (skb.arrived_by(), skb.interface()),
        };
        HopKey::new(ingress, egress, self.verdict)
    }
}

#[inline(always)]
fn either(verdict: Result<Verdict, Verdict>) -> Verdict {
    match verdict {
        Ok(verdict) | Err(verdict) => verdict,
    }
}

/// The verdict of a number that a stage packed. One that is none there is not: the packet would be the kernel's.
#[inline(always)]
fn unpacked(number: u32) -> Verdict {
    Verdict::unpacked(number).unwrap_or(Verdict::Punt(PuntReason::Rules))
}

// No closures, which would not always be inlined, and the kernel counts the stack of each call.

/// A packet that an endpoint sent.
#[inline(always)]
pub fn from_endpoint(skb: &mut Skb) -> Decision {
    let mut egress = NextHop::default();
    Decision::new(endpoint_packet(skb, &mut egress), egress)
}

#[inline(always)]
fn endpoint_packet(skb: &mut Skb, egress: &mut NextHop) -> Result<Verdict, Verdict> {
    let gate = gate::complete(skb)?;
    match parse::plain(skb)? {
        Some(Network::V4) => endpoint_stages::<V4>(skb, gate, egress),
        Some(Network::V6) => endpoint_stages::<V6>(skb, gate, egress),
        None => Ok(unpacked(pipeline_other_from_endpoint(skb))),
    }
}

/// A packet from another node.
#[inline(always)]
pub fn from_uplink(skb: &mut Skb) -> Decision {
    let mut egress = NextHop::default();
    let features = Features::of_node();
    // A packet that is asked about always has a header.
    let is_bare = features.bare_uplinks() && gate::is_bare(skb) && !trail::is_asked(skb);
    let verdict = if is_bare {
        uplink_packet(&mut Skb::bare(skb.raw()), features, &mut egress)
    } else {
        uplink_packet(skb, features, &mut egress)
    };
    Decision::new(verdict, egress)
}

/// It stands twice in the program, so that frames carry nothing along for packets that have no Ethernet header.
#[inline(always)]
fn uplink_packet(
    skb: &mut Skb,
    features: Features,
    egress: &mut NextHop,
) -> Result<Verdict, Verdict> {
    match parse::plain(skb)? {
        Some(Network::V4) => uplink_stages::<V4>(skb, features, egress),
        Some(Network::V6) => uplink_stages::<V6>(skb, features, egress),
        None => Ok(unpacked(pipeline_other_from_uplink(skb))),
    }
}

/// A packet that the kernel delivers to an endpoint.
#[inline(always)]
pub fn to_endpoint(skb: &Skb) -> Decision {
    if connections::is_noted(skb) {
        note(skb);
    }
    let (verdict, egress) = (Verdict::Deliver, NextHop::default());
    Decision { verdict, egress }
}

/// A packet that leaves by an uplink.
#[inline(always)]
pub fn to_uplink(skb: &Skb) {
    if connections::is_noted(skb) {
        if gate::is_bare(skb) {
            note(&Skb::bare(skb.raw()));
        } else {
            note(skb);
        }
    }
}

/// Notes the connection of a packet that the kernel sends on itself.
#[inline(always)]
fn note(skb: &Skb) {
    match Network::of(skb.protocol()) {
        Some(Network::V4) => V4::enter(skb),
        Some(Network::V6) => V6::enter(skb),
        None => {}
    }
}

#[inline(always)]
fn endpoint_stages<F: Routed>(
    skb: &mut Skb,
    gate: Gate,
    egress: &mut NextHop,
) -> Result<Verdict, Verdict> {
    let mut place = Place::uninit();
    let packet = F::headers(skb, &mut place)?;
    let source = source::of_endpoint(skb, packet)?;
    if let Some(reason) = packet.punt {
        skb.set_decided(destination::leads_on(packet));
        return Err(Verdict::Punt(reason));
    }
    gate::lets_in::<F>(skb, gate)?;
    let route = way(packet)?;
    trail::destination(skb, &route.endpoint);
    gate::lets_between(&route.endpoint, source)?;
    connections::is_fast::<F>(skb)?;
    trail::is_fast(skb);
    datagrams::is_fast::<F>(skb)?;
    match route.kind() {
        RouteKind::Local => to_local(skb, packet, &route.endpoint, Features::of_node(), egress),
        RouteKind::Remote => to_remote(skb, packet, egress),
    }
}

#[inline(always)]
fn uplink_stages<F: Routed>(
    skb: &mut Skb,
    features: Features,
    egress: &mut NextHop,
) -> Result<Verdict, Verdict> {
    let mut place = Place::uninit();
    let packet = F::headers(skb, &mut place)?;
    let source = source::of_uplink(packet)?;
    if let Some(reason) = packet.punt {
        skb.set_decided(source.is_some() && destination::leads_on(packet));
        return Err(Verdict::Punt(reason));
    }
    if features.punt_ingress() {
        gate::uplink_lets_in::<F>(skb)?;
    }
    let route = way(packet)?;
    trail::destination(skb, &route.endpoint);
    gate::lets_between(&route.endpoint, side::inside::<F>(skb, source)?)?;
    connections::is_fast::<F>(skb)?;
    trail::is_fast(skb);
    datagrams::is_fast::<F>(skb)?;
    match route.kind() {
        RouteKind::Local => into_node(skb, packet, &route.endpoint, features, egress),
        RouteKind::Remote => through_node(skb, packet, features, egress),
    }
}

/// Where the destination is, by itself or by the longest prefix.
#[inline(always)]
fn way<F: Routed>(packet: &Parsed<F>) -> Result<RouteEntry, Verdict> {
    match destination::by_address(packet)? {
        Some(endpoint) => Ok(RouteEntry::local(&endpoint)),
        None => destination::by_prefix(packet),
    }
}

/// A frame of an endpoint's that is not plain, and so the kernel's if its source is right.
/// Returns the verdict, packed.
#[inline(always)]
fn other_from_endpoint(skb: &Skb) -> u32 {
    either(endpoint_frame(skb)).packed()
}

once!(fn pipeline_other_from_endpoint(&skb) -> u32 = other_from_endpoint);

#[inline(always)]
fn endpoint_frame(skb: &Skb) -> Result<Verdict, Verdict> {
    let frame = parse::frame(skb)?;
    match frame.network {
        Network::V4 => source::of_endpoint(skb, &frame.packet::<V4>(skb)?)?,
        Network::V6 => source::of_endpoint(skb, &frame.packet::<V6>(skb)?)?,
    };
    Ok(Verdict::Punt(frame.reason))
}

/// A frame from outside that is not plain, as [`other_from_endpoint`].
#[inline(always)]
fn other_from_uplink(skb: &Skb) -> u32 {
    either(uplink_frame(skb)).packed()
}

once!(fn pipeline_other_from_uplink(&skb) -> u32 = other_from_uplink);

#[inline(always)]
fn uplink_frame(skb: &Skb) -> Result<Verdict, Verdict> {
    let frame = parse::frame(skb)?;
    match frame.network {
        Network::V4 => uplink_source(&frame, &frame.packet::<V4>(skb)?)?,
        Network::V6 => uplink_source(&frame, &frame.packet::<V6>(skb)?)?,
    }
    Ok(Verdict::Punt(frame.reason))
}

#[inline(always)]
fn uplink_source<F: Routed>(frame: &Frame, packet: &Parsed<F>) -> Result<(), Verdict> {
    let features = Features::of_node();
    if frame.for_others {
        source::of_others(packet, features)
    } else {
        source::of_uplink(packet).map(drop)
    }
}

/// The stages after the destination for a packet from another node to an endpoint.
#[inline(always)]
fn into_node<F: Routed>(
    skb: &mut Skb,
    packet: &Parsed<F>,
    endpoint: &EndpointEntry,
    features: Features,
    egress: &mut NextHop,
) -> Result<Verdict, Verdict> {
    reverse_path::accepts(skb, packet, endpoint.ifindex, features)?;
    to_local(skb, packet, endpoint, features, egress)
}

/// The stages after the destination for a packet from one other node to another (transit).
#[inline(always)]
fn through_node<F: Routed>(
    skb: &mut Skb,
    packet: &Parsed<F>,
    features: Features,
    egress: &mut NextHop,
) -> Result<Verdict, Verdict> {
    fib::next_hop(skb, packet, egress)?;
    reverse_path::accepts(skb, packet, egress.ifindex, features)?;
    out(skb, packet, features, egress)
}

/// The last stages for a packet to an endpoint of this node.
#[inline(always)]
fn to_local<F: Routed>(
    skb: &mut Skb,
    packet: &Parsed<F>,
    endpoint: &EndpointEntry,
    features: Features,
    egress: &mut NextHop,
) -> Result<Verdict, Verdict> {
    egress.ifindex = destination::device(endpoint)?;
    checks::ttl(packet)?;
    checks::device_mtu(skb, packet, egress.ifindex)?;
    checks::turns_back(skb, egress.ifindex)?;
    shadow::lets_change(skb, egress.ifindex, features)?;
    rewrite::trim_padding(skb, packet)?;
    rewrite::to_endpoint::<F>(skb, endpoint)?;
    Ok(Verdict::redirect_peer())
}

/// The last stages for a packet to another node.
#[inline(always)]
fn to_remote<F: Routed>(
    skb: &mut Skb,
    packet: &Parsed<F>,
    egress: &mut NextHop,
) -> Result<Verdict, Verdict> {
    fib::next_hop(skb, packet, egress)?;
    out(skb, packet, Features::of_node(), egress)
}

/// The last stages for a packet whose next hop is known.
#[inline(always)]
fn out<F: Routed>(
    skb: &mut Skb,
    packet: &Parsed<F>,
    features: Features,
    egress: &mut NextHop,
) -> Result<Verdict, Verdict> {
    checks::ttl(packet)?;
    checks::path_mtu(skb, packet, egress, features)?;
    checks::turns_back(skb, egress.ifindex)?;
    let gate = gate::lets_out(egress.ifindex)?;
    if gate.has(Gate::BARE) {
        egress.family = F::BY_BARE_DEVICE;
    }
    shadow::lets_change(skb, egress.ifindex, features)?;
    rewrite::trim_padding(skb, packet)?;
    rewrite::to_next_hop::<F>(skb)?;
    Ok(Verdict::redirect_neigh())
}
