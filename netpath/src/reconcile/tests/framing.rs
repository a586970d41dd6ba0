//! What stands before the packets of an uplink: the programs are told, or it is refused.

use netpath_common::{FeatureBits, InterfaceKind};

use super::{assert_true, carry_out, generate::host_world, host_with_a_route, planned, told};
use crate::reconcile::{Framing, Refusal, Wanted, World};

/// `up0` of [`host_world`] with other packets.
fn world_with(framing: Framing) -> World {
    let mut world = host_world();
    let links = world.observed.node.links.iter_mut();
    for link in links.filter(|link| link.name == "up0") {
        link.framing = framing;
        link.mac = None;
    }
    world
}

fn wanted() -> Wanted {
    host_with_a_route().0
}

#[test]
fn framing_is_what_the_kernel_says() {
    for (hardware, point_to_point, framing) in [
        // Ethernet, and the loopback device.
        (1, false, Framing::Ethernet),
        (772, false, Framing::Ethernet),
        // PPP, raw IP, ipip, ip6tnl, sit, ip6gre, tun and WireGuard.
        (512, true, Framing::Bare),
        (519, true, Framing::Bare),
        (768, true, Framing::Bare),
        (768, false, Framing::Bare),
        (769, true, Framing::Bare),
        (776, true, Framing::Bare),
        (823, true, Framing::Bare),
        (0xfffe, true, Framing::Bare),
        (0xffff, true, Framing::Bare),
        // GRE, and InfiniBand.
        (778, true, Framing::Bare),
        (778, false, Framing::Unknown(778)),
        (32, false, Framing::Unknown(32)),
    ] {
        let found = Framing::of(hardware, point_to_point);
        assert_eq!(found, framing, "{hardware} {point_to_point}");
    }
}

#[test]
fn the_programs_are_told_of_packets_without_a_header() {
    let wanted = wanted();
    for (framing, kind, bits) in [
        (Framing::Ethernet, InterfaceKind::Uplink, 0),
        (
            Framing::Bare,
            InterfaceKind::BareUplink,
            FeatureBits::BARE_UPLINKS,
        ),
    ] {
        let mut world = world_with(framing);
        let plan = planned(&wanted, &world);
        assert_eq!(plan.refusals, []);
        carry_out(&mut world, &plan);
        assert_true(&wanted, &world);
        let ifindex = world.ifindex("up0");
        assert_eq!(world.observed.maps.interfaces[&ifindex].kind, Some(kind));
        let found = world.observed.maps.features.bits;
        assert_eq!(found & FeatureBits::BARE_UPLINKS, bits);

        // Of an older version's, which knew one kind of uplink only.
        let mut old = world.clone();
        let maps = &mut old.observed.maps;
        maps.features.bits &= !FeatureBits::BARE_UPLINKS;
        let entry = maps.interfaces.get_mut(&ifindex).expect("there");
        entry.kind = Some(InterfaceKind::Uplink);
        let plan = planned(&wanted, &old);
        assert_eq!(told(&plan).count() != 0, bits != 0);
        carry_out(&mut old, &plan);
        assert_eq!(old.observed.maps, world.observed.maps);
    }
}

#[test]
fn a_header_that_the_programs_do_not_know_is_refused() {
    let plan = planned(&wanted(), &world_with(Framing::Unknown(32)));
    let refused: Vec<_> = plan.refusals.iter().map(|it| &it.refusal).collect();
    let unknown = Refusal::UnknownFraming {
        dev: "up0".into(),
        hardware: 32,
    };
    assert_eq!(refused, [&unknown]);
}
