//! What nodes are judged by: `doctor` and `audit`.

use serde_json::{Value, json};

use super::{AUDIT, DOCTOR, conforms, value};
use crate::{
    api::{Audit, AuditedShadow, Diagnosis},
    audit::{Act, Compared, Comparison, Group, Item, ItemKind, Met, Spared},
    doctor,
    model::NodePlace,
    netfilter,
    provision::{self, Action, AuditedNode, FastPathMode, Object},
};

#[test]
fn a_diagnosis_is_of_its_schema() {
    let mut seen = doctor::Seen {
        machine: doctor::Machine {
            release: "6.18.0".into(),
            attach_mode: Some("tcx"),
            jit: Some(0),
            jit_harden: Some(2),
            ..doctor::Machine::default()
        },
        ..doctor::Seen::default()
    };
    seen.unseen.insert(doctor::Part::Nodes, "lacks".into());
    let fixed = provision::Change {
        action: Action::Update,
        object: Object::Node,
        node: "node03".into(),
        name: "node03".into(),
        detail: String::new(),
    };
    let document = value(&Diagnosis::new(&doctor::judge(&seen), &[fixed]));
    conforms(DOCTOR, &document);
    assert_eq!(document["healthy"], json!(false));
    assert_eq!(document["kernel"], json!("Linux 6.18.0, tcx"));
    let states: Vec<&Value> = document["checks"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|check| &check["state"])
        .collect();
    assert_eq!(states[..3], [&json!("ok"), &json!("fault"), &json!("ok")]);
    assert!(states.contains(&&json!("unseen")));
    assert_eq!(
        document["checks"][1]["found"][1],
        json!({
            "id": "jit_hardened", "level": "note", "object": "this machine",
            "problem": "net.core.bpf_jit_harden is 2: programs are slower",
            "why": "The kernel hides the constants of all BPF programs, root's too (`bpf_jit_harden`): each packet costs more.",
            "cure": "leave it where it is meant so; `sysctl -w net.core.bpf_jit_harden=1` hides only those of users without rights",
            "fixable": false
        })
    );
}

#[test]
fn what_is_audited_conforms() {
    let item = |kind, group, count: Option<netfilter::Count>| Item {
        kind,
        group,
        place: "ip filter FORWARD".to_owned(),
        handle: count.map(|_| 7),
        text: "-j DROP".to_owned(),
        acts: vec![Act::Drop, Act::Log],
        why: String::new(),
        count,
        reason: Some(netpath_common::PuntReason::Rules),
        may_drop: false,
    };
    let count = netfilter::Count {
        packets: 3,
        bytes: 252,
    };
    let node = AuditedNode {
        name: "n".to_owned(),
        place: NodePlace::Host,
        fast_path: Some(FastPathMode::Shadow),
        has_shadow: false,
        items: vec![
            item(ItemKind::Rule, Group::Changes, Some(count)),
            item(ItemKind::Unread, Group::Unknown, None),
        ],
    };
    let mut document = Audit::new(std::slice::from_ref(&node));
    conforms(AUDIT, &serde_json::to_value(&document).expect("JSON"));
    let compared = Comparison {
        hops: vec![Compared {
            ingress: None,
            egress: "up0".to_owned(),
            would: 3,
            happened: 2,
        }],
        spared: vec![Spared {
            ingress: "va1".to_owned(),
            reason: "shadow_spoofed",
            packets: 1,
        }],
        met: vec![Met {
            rule: "ip filter FORWARD: policy DROP".to_owned(),
            acts: vec![Act::Drop],
            packets: 1,
        }],
    };
    document.nodes[0].shadow = Some(AuditedShadow::new(&compared, 2.5));
    conforms(AUDIT, &serde_json::to_value(&document).expect("JSON"));
    assert!(document.nodes[0].changes_behaviour);
    let shadow = document.nodes[0].shadow.as_ref().expect("compared");
    assert!(!shadow.agrees && !shadow.hops[0].agrees);
}
