use super::*;
use crate::probe::lab::{DEV, Lab, address, address_pairs};

fn quick() -> PingOptions {
    PingOptions {
        interval: Duration::from_millis(1),
        timeout: Duration::from_millis(200),
        ..PingOptions::default()
    }
}

#[test]
fn each_request_has_its_reply() {
    let lab = Lab::new();
    for (a, b) in address_pairs() {
        for payload_len in [0, 1, 56, 1400, 20_000] {
            let options = PingOptions {
                src: Some(a),
                count: 5,
                payload_len,
                tos: Some(0xb8),
                ..PingOptions::default()
            };
            let report = ping(&lab.a, b, &options).expect("ping");
            assert!(report.is_clean(), "{payload_len} bytes to {b}: {report:?}");
            assert_eq!((report.sent, report.received), (5, 5));
            assert_eq!(report.rtts().count(), 5);
            for (sequence, reply) in report.replies.iter().enumerate() {
                assert_eq!(usize::from(reply.sequence), sequence);
                assert_eq!((reply.source, reply.ttl), (b, 64));
                assert!(reply.rtt > Duration::ZERO && reply.rtt < Duration::from_secs(1));
            }
        }
    }
}

#[test]
fn silence_ends_with_the_timeout() {
    let lab = Lab::new();
    lab.lose_everything();
    for (_, b) in address_pairs() {
        let start = Instant::now();
        let options = PingOptions {
            count: 10,
            ..quick()
        };
        let report = ping(&lab.a, b, &options).expect("ping");
        assert_eq!((report.sent, report.received), (10, 0));
        assert!(report.replies.is_empty() && report.errors.is_empty());
        let elapsed = start.elapsed();
        assert!(elapsed >= Duration::from_millis(209), "{elapsed:?}");
        assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    }
}

#[test]
fn time_exceeded_and_unreachable_are_reported() {
    let lab = Lab::new();
    lab.ip_b("route add unreachable 10.9.0.0/24");
    lab.ip_b("-6 route add unreachable fd09::/64");
    lab.ip_b("route add 10.8.0.0/24 via 10.1.0.1");
    lab.ip_b("-6 route add fd08::/64 via fd01::1");
    for (target, gateway, ttl, kind, code) in [
        ("10.8.0.1", "10.1.0.2", 1, 11, 0),
        ("fd08::1", "fd01::2", 1, 3, 0),
        ("10.9.0.1", "10.1.0.2", 64, 3, 1),
        ("fd09::1", "fd01::2", 64, 1, 0),
    ] {
        let target = address(target);
        let options = PingOptions {
            ttl: Some(ttl),
            payload_len: 100,
            ..quick()
        };
        let report = ping(&lab.a, target, &options).expect("ping");
        assert_eq!((report.sent, report.received), (1, 0), "{target}");
        let [error] = &report.errors[..] else {
            panic!("{target}: {report:?}");
        };
        assert_eq!((error.kind, error.code), (kind, code), "{target}");
        assert_eq!((error.source, error.ttl), (address(gateway), 64));
        assert_eq!((error.sequence, error.mtu()), (0, None));
        let quoted = ParsedIp::parse(error.quoted()).expect("quote");
        assert_eq!((quoted.destination, quoted.ttl), (target, ttl));
    }
}

#[test]
fn the_path_mtu_is_probed_learnt_and_fragmented_for() {
    let lab = Lab::new();
    lab.ip_b(&format!(
        "route add 10.7.0.0/24 via 10.1.0.1 dev {DEV} mtu 1280"
    ));
    lab.ip_b(&format!(
        "-6 route add fd07::/64 via fd01::1 dev {DEV} mtu 1280"
    ));
    for (target, kind, code) in [("10.7.0.1", 3, 4), ("fd07::1", 2, 0)] {
        let target = address(target);
        let large = |fragmentation| PingOptions {
            payload_len: 1400,
            fragmentation,
            ..quick()
        };
        // A probe heeds nothing that was learnt: the second one meets the same router.
        for _ in 0..2 {
            let report = ping(&lab.a, target, &large(Fragmentation::Probe)).expect("ping");
            let [error] = &report.errors[..] else {
                panic!("{target}: {report:?}");
            };
            assert_eq!((error.kind, error.code), (kind, code));
            assert_eq!(error.mtu(), Some(1280));
        }
        // By now the kernel knows, and refuses.
        let report = ping(&lab.a, target, &large(Fragmentation::Forbid)).expect("ping");
        let refused = Refusal {
            sequence: 0,
            errno: nix::errno::Errno::EMSGSIZE,
        };
        assert_eq!((report.sent, &report.refused[..]), (0, &[refused][..]));
        let report = ping(&lab.a, target, &large(Fragmentation::Allow)).expect("ping");
        assert!(
            report.errors.iter().all(|e| e.mtu().is_none()),
            "{report:?}"
        );
        assert_eq!((report.sent, report.refused.len()), (1, 0));
    }
}

#[test]
fn impossible_options_are_refused() {
    let lab = Lab::new();
    let (v4, v6) = (address("10.1.0.1"), address("fd01::2"));
    let crossed = PingOptions {
        src: Some(v4),
        ..quick()
    };
    assert!(matches!(
        ping(&lab.a, v6, &crossed),
        Err(ProbeError::Invalid { option: "src", .. })
    ));
    let huge = PingOptions {
        payload_len: 65_508,
        ..quick()
    };
    let result = ping(&lab.a, v4, &huge);
    assert!(matches!(result, Err(ProbeError::Invalid { .. })));
    let none = PingOptions {
        count: 0,
        ..quick()
    };
    assert_eq!(ping(&lab.a, v4, &none).expect("nothing to do").sent, 0);
}
