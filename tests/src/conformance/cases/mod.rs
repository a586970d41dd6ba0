//! The cases, by what they are about.

mod addresses;
mod fields;
mod fragments;
mod headers;
mod link;
mod malformed;
mod mtu;
mod routes;
mod ttl;

use super::{
    case::{Case, Flow, Path, Probe},
    lab::Lab,
};
use crate::Family;

/// Every case, in the order of the page.
pub fn all(lab: &Lab) -> Vec<Case> {
    let mut list = List {
        lab,
        cases: Vec::new(),
    };
    for add in [
        ttl::add,
        mtu::add,
        fragments::add,
        headers::add,
        fields::add,
        addresses::add,
        link::add,
        malformed::add,
        routes::add,
    ] {
        add(&mut list);
    }
    list.cases
}

/// The cases so far.
struct List<'a> {
    lab: &'a Lab,
    cases: Vec<Case>,
}

impl List<'_> {
    /// Every path, in both families.
    fn flows(&self) -> impl Iterator<Item = Flow> + use<> {
        let flows: Vec<Flow> = Family::BOTH
            .into_iter()
            .flat_map(|family| Path::ALL.map(|path| Flow::new(self.lab, family, path)))
            .collect();
        flows.into_iter()
    }

    /// Every path of one family.
    fn flows_of(&self, family: Family) -> impl Iterator<Item = Flow> + use<> {
        self.flows().filter(move |flow| flow.family == family)
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
        });
        self.cases.last_mut().expect("it was just added")
    }
}
