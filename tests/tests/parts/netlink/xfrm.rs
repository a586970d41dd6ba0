//! XFRM policies.

use std::{ffi::OsStr, fs};

use netpath::netlink::{
    Xfrm, XfrmAction, XfrmDefaults, XfrmDirection, XfrmMark, XfrmPolicy, XfrmPorts, XfrmSelector,
};

use super::*;

fn selector(source: &str, destination: &str) -> XfrmSelector {
    XfrmSelector {
        source: net(source),
        destination: net(destination),
        protocol: 0,
        source_ports: XfrmPorts::default(),
        destination_ports: XfrmPorts::default(),
        ifindex: None,
    }
}

#[test]
fn xfrm_policies_are_read() {
    alone(|inside, netlink| {
        let [a, _] = two_links(&netlink);
        assert_eq!(Xfrm::read(inside).expect("asked"), Xfrm::default());
        for line in [
            "src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 9 mark 0x10 mask 0xf0 if_id 3 \
             tmpl src 10.0.0.1 dst 10.0.0.2 proto esp reqid 1 mode tunnel",
            "src 10.2.0.0/16 dst 10.1.0.0/16 proto tcp sport 80 dport 443 dir in \
             tmpl proto ah mode transport tmpl proto esp mode transport",
            "src fd00:2::/48 dst fd00:1::/48 dev a0 dir fwd action block",
            "src ::/0 dst ::/0 dir out",
        ] {
            ip(&format!("xfrm policy add {line}"));
        }
        let mut found = Xfrm::read(inside).expect("policies");
        found.policies.sort_by_key(|policy| policy.templates);
        let any = XfrmPolicy {
            selector: Some(selector("::/0", "::/0")),
            direction: XfrmDirection::Out,
            action: XfrmAction::Allow,
            templates: 0,
            priority: 0,
            mark: None,
            if_id: 0,
        };
        let port = |port| XfrmPorts { port, mask: 0xffff };
        let blocked = XfrmPolicy {
            selector: Some(XfrmSelector {
                ifindex: Some(a),
                ..selector("fd00:2::/48", "fd00:1::/48")
            }),
            direction: XfrmDirection::Forward,
            action: XfrmAction::Block,
            ..any.clone()
        };
        let tunnel = XfrmPolicy {
            selector: Some(selector("10.1.0.0/16", "10.2.0.0/16")),
            templates: 1,
            priority: 9,
            mark: Some(XfrmMark {
                value: 0x10,
                mask: 0xf0,
            }),
            if_id: 3,
            ..any.clone()
        };
        let transport = XfrmPolicy {
            selector: Some(XfrmSelector {
                protocol: 6,
                source_ports: port(80),
                destination_ports: port(443),
                ..selector("10.2.0.0/16", "10.1.0.0/16")
            }),
            direction: XfrmDirection::In,
            templates: 2,
            ..any.clone()
        };
        // Those without a template in either order.
        assert_eq!(found.policies.len(), 4);
        for policy in [&any, &blocked] {
            assert!(found.policies[..2].contains(policy), "{found:?}");
        }
        assert_eq!(found.policies[2..], [tunnel, transport]);
        assert_eq!(found.defaults, XfrmDefaults::default());
        ip("xfrm policy setdefault fwd block");
        assert_eq!(
            Xfrm::read(inside).expect("policies").defaults,
            XfrmDefaults {
                block_forward: true,
                ..XfrmDefaults::default()
            }
        );
    });
}

#[test]
fn many_xfrm_policies_are_read_whole() {
    alone(|inside, _| {
        let lines: String = (0..3000)
            .map(|n| {
                let (high, low) = (n / 250, n % 250);
                format!("xfrm policy add src 10.{high}.{low}.0/24 dst 10.99.0.0/16 dir fwd action block\n")
            })
            .collect();
        let batch = std::env::temp_dir().join(format!("netpath-xfrm-{}", std::process::id()));
        fs::write(&batch, lines).expect("written");
        run("ip", [OsStr::new("-batch"), batch.as_os_str()]);
        fs::remove_file(&batch).expect("removed");
        let found = Xfrm::read(inside).expect("policies");
        assert_eq!(found.policies.len(), 3000);
    });
}
