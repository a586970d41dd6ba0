//! `to_endpoint`: what the kernel itself delivers.

use netpath::datapath::ProgramKind;
use netpath_tests::{Addresses as _, Family, Passage, TestNode, between};

#[test]
fn counts_whatever_the_kernel_delivers() {
    let node = TestNode::new();
    for family in Family::ALL {
        let frame = between(node.b.frame(), family.outside(), family.b()).payload(&[1; 100]);
        let passage = || {
            Passage::new(
                &node,
                ProgramKind::ToEndpoint,
                node.b,
                frame.clone().ttl(1).build(),
            )
        };
        passage().arrived_by(node.uplink).is_delivered();
        passage().arrived_by(node.a).is_delivered();
        // What the node itself sends came in by no interface.
        passage().is_delivered();
    }
    let arp = node.b.frame().ethertype(0x0806).payload(&[0; 28]).build();
    Passage::new(&node, ProgramKind::ToEndpoint, node.b, arp).is_delivered();
}
