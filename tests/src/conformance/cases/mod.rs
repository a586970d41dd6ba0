//! The cases, by what they are about.

mod addresses;
mod fields;
mod fragments;
mod headers;
mod link;
mod malformed;
mod mtu;
mod prefixes;
mod real;
mod routes;
mod stages;
mod ttl;
mod wrapped;

use super::{
    case::{Case, Flow, Path, Probe},
    lab::Lab,
    place::SPARES,
};
use crate::Family;

/// Every case, in the order of the page.
pub fn all(lab: &Lab) -> Vec<Case> {
    let mut list = List {
        lab,
        cases: Vec::new(),
        next_identification: 0x1000,
        next_spare: 0,
    };
    for add in [
        ttl::add,
        mtu::add,
        fragments::add,
        headers::add,
        fields::add,
        addresses::add,
        link::add,
        wrapped::add,
        malformed::add,
        prefixes::add,
        routes::add,
        real::add,
        stages::add,
    ] {
        add(&mut list);
    }
    list.cases
}

/// The cases so far.
struct List<'a> {
    lab: &'a Lab,
    cases: Vec<Case>,
    next_identification: u32,
    next_spare: u8,
}

impl List<'_> {
    /// Every path, in both families.
    fn flows(&self) -> impl Iterator<Item = Flow> + use<> {
        let flows: Vec<Flow> = Family::ALL
            .into_iter()
            .flat_map(|family| {
                let paths = Path::ALL
                    .into_iter()
                    .filter(|path| self.lab.has(path.receiver()));
                paths.map(move |path| Flow::new(self.lab, family, path))
            })
            .collect();
        flows.into_iter()
    }

    /// An identification that no other case has, so that nothing is reassembled from two cases.
    fn identification(&mut self) -> u32 {
        self.next_identification += 1;
        self.next_identification
    }

    /// The flow from an address that few other cases use: the kernel sends each IPv4 source five errors for
    /// refused routes at once, and then one a second (`ip_error`), and that cannot be turned off in a
    /// namespace.
    fn erring(&mut self, flow: &Flow) -> Flow {
        self.next_spare = (self.next_spare + 1) % SPARES;
        let host = 10 + self.next_spare;
        let flow = Flow {
            once: true,
            ..*flow
        };
        match (flow.family, flow.path) {
            (Family::V6, _) => flow,
            (Family::V4, Path::SameNode | Path::ToRemote) => flow.from([10, 1, 1, host].into()),
            (Family::V4, Path::FromUplink | Path::Transit) => flow.from([10, 2, 77, host].into()),
        }
    }

    /// Adds a case that sends frames.
    fn frames(
        &mut self,
        flow: &Flow,
        name: impl Into<String>,
        source: &'static str,
        frames: impl IntoIterator<Item = Vec<u8>>,
    ) -> &mut Case {
        let frames = frames.into_iter().collect();
        self.add(flow, name, source, Probe::Frames(frames))
    }

    /// Adds a case.
    fn add(
        &mut self,
        flow: &Flow,
        name: impl Into<String>,
        source: &'static str,
        probe: Probe,
    ) -> &mut Case {
        self.cases.push(Case {
            name: name.into(),
            source,
            family: flow.family,
            path: flow.path,
            steps: Vec::new(),
            probe,
            with_discovery: false,
            with_redirects: false,
            once: flow.once,
            counted_as: None,
        });
        self.cases.last_mut().expect("it was just added")
    }
}
