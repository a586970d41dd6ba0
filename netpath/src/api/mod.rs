//! What `netpath` tells programs: documents with a version each, apart from the types that netpath works with.
//!
//! A document's schema is in docs/schema. A key is never renamed, never removed and never means something else without
//! a new version; new keys may come at any time.

mod audit;
mod changes;
mod doctor;
mod explain;
mod flows;
mod groups;
mod hops;
mod status;
#[cfg(test)]
mod tests;
mod trace;

pub use self::{
    audit::{Audit, AuditItem, AuditedNode, AuditedShadow, ComparedHop, MetRule, WouldDrop},
    changes::{Change, Changes},
    doctor::{CheckResult, Diagnosis, Symptom},
    explain::{
        ExplainedEnd, ExplainedHop, ExplainedKernel, ExplainedPacket, ExplainedStep,
        ExplainedUnknown, ExplainedWay, Explanation,
    },
    flows::{Flow, FlowEnd, FlowTable, Flows},
    groups::{Count, GroupRow, Groups},
    hops::{Hop, Hops, Rate, Rates},
    status::{Endpoint, Finding, Interface, NextHop, Route, Status, StatusNode, Uplink},
    trace::{Trace, TraceStep, TracedPacket},
};
