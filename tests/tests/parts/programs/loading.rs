//! What it takes to load the programs, which each `up` of a node does.

use netpath::datapath::ProgramKind;
use netpath_tests::TestNode;

/// Most instructions that a verifier may look at: half as many again as Linux 6.18's does today, as other kernels' differ.
const MOST: [(ProgramKind, u32); 4] = [
    (ProgramKind::FromEndpoint, 50_000),
    (ProgramKind::FromUplink, 67_000),
    (ProgramKind::ToEndpoint, 8_700),
    (ProgramKind::ToUplink, 8_000),
];

#[test]
fn the_verifier_looks_at_no_more_than_it_has_to() {
    let node = TestNode::new();
    for (kind, most) in MOST {
        let id = node.datapath().program_id(kind).expect("it is pinned");
        let mut programs = aya::programs::loaded_programs().filter_map(Result::ok);
        let own = programs.find(|program| program.id() == id);
        let own = own.unwrap_or_else(|| panic!("{kind:?} has id {id}, and is not loaded"));
        let verified = own.verified_instruction_count().expect("since Linux 5.16");
        assert!(verified <= most, "{kind:?}: {verified}");
    }
}
