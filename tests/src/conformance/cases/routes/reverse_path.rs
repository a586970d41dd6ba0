//! The reverse-path filter of an uplink.

use crate::conformance::{
    case::{Flow, Step},
    cases::List,
    place::Place,
};

/// The reverse-path filter of an uplink.
pub(super) fn add(list: &mut List<'_>, flow: &Flow) {
    if flow.is_v4() && !flow.path.is_from_endpoint() {
        // Its way is the other wire.
        let stranger = flow.from([10, 3, 77, 1].into());
        for value in ["0", "1", "2"] {
            let case = list.frames(
                flow,
                format!("setting: rp_filter {value} at the uplink, no way back to the source"),
                "RFC 3704; ip-sysctl.rst: rp_filter",
                [stranger.udp().build(), flow.udp().build()],
            );
            case.steps = vec![Step::sysctl(Place::NodeA, "ipv4/conf/up0/rp_filter", value)];
        }
    }
}
