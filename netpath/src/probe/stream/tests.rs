use super::*;
use crate::probe::lab::{Lab, address, address_pairs};

#[test]
fn every_datagram_arrives_once() {
    let lab = Lab::new();
    for (a, b) in address_pairs() {
        for (packets, payload_len, window) in [
            (10_000, 64, Some(64)),
            (10_000, 64, None),
            (1_000, 1400, Some(1)),
            (500, StreamOptions::PAYLOAD_MIN, Some(64)),
            (50, 30_000, Some(64)),
            (0, 64, Some(64)),
        ] {
            let options = StreamOptions {
                packets,
                payload_len,
                window,
                ttl: Some(33),
                tos: Some(0x2e),
                quiet: Duration::from_secs(20),
                ..StreamOptions::new(a, b)
            };
            let start = Instant::now();
            let report = udp_stream(&lab.a, &lab.b, &options).expect("stream");
            assert!(report.is_exact(packets), "{options:?}: {report:?}");
            assert_eq!(report.lost(), 0);
            // It is over with the last arrival, not one `quiet` later.
            assert!(start.elapsed() < options.quiet);
            if packets > 0 {
                let source = SocketAddr::new(a, report.src_port);
                assert_eq!(report.sources, BTreeSet::from([source]));
                assert_eq!(report.ttls, BTreeSet::from([33]));
                assert_eq!(report.tos, BTreeSet::from([0x2e]));
                assert!(report.elapsed > Duration::ZERO);
            }
        }
    }
}

#[test]
fn ports_are_those_asked_for() {
    let lab = Lab::new();
    let (a, b) = address_pairs()[0];
    let options = StreamOptions {
        src_port: 4000,
        port: 5000,
        ..StreamOptions::new(a, b)
    };
    let report = udp_stream(&lab.a, &lab.b, &options).expect("stream");
    assert!(report.is_exact(100), "{report:?}");
    assert_eq!((report.src_port, report.port), (4000, 5000));
    let source = SocketAddr::new(a, 4000);
    assert_eq!(report.sources, BTreeSet::from([source]));
}

#[test]
fn a_path_that_drops_everything_ends_in_time() {
    let lab = Lab::new();
    lab.lose_everything();
    for (a, b) in address_pairs() {
        let start = Instant::now();
        let options = StreamOptions {
            packets: 10_000,
            quiet: Duration::from_millis(50),
            deadline: Duration::from_millis(230),
            ..StreamOptions::new(a, b)
        };
        let report = udp_stream(&lab.a, &lab.b, &options).expect("stream");
        assert!(start.elapsed() < Duration::from_secs(2));
        assert_eq!((report.received, report.distinct), (0, 0));
        // A window of 64 at 0, 50, 100, 150 and 200 ms; fewer, and the last cut short, when the machine is late.
        assert!((64..=320).contains(&report.sent), "{report:?}");
        assert!(report.sources.is_empty() && report.ttls.is_empty());

        let without_window = StreamOptions {
            window: None,
            deadline: Duration::from_secs(10),
            ..options
        };
        let report = udp_stream(&lab.a, &lab.b, &without_window).expect("stream");
        assert_eq!((report.sent, report.lost()), (10_000, 10_000));
        assert_eq!(report.received, 0);
    }
}

#[test]
fn what_is_not_of_the_stream_is_told_apart() {
    let lab = Lab::new();
    let (a, b) = address_pairs()[0];
    let (socket, object) =
        bind_udp(&lab.b, SocketAddr::new(b, 0), Duration::from_secs(1)).expect("bind");
    let target = local_address(&socket, &object).expect("address");
    let (from, _) = bind_udp(&lab.a, SocketAddr::new(a, 0), Duration::from_secs(1)).expect("bind");
    let datagrams = Datagrams {
        run: 11,
        payload_len: 40,
    };
    let progress = Progress::default();
    progress.sent.store(3, Ordering::Release);
    let receiver = Receiver {
        socket,
        object,
        datagrams,
        packets: 3,
        quiet: Duration::from_millis(100),
        deadline: deadline_after(Duration::from_secs(5)),
        progress: &progress,
        sender: thread::current(),
    };
    // Intact, the same again, one flipped bit, one too short, one too long, another run's.
    let mut payloads = vec![vec![0; 40]; 6];
    for (payload, sequence) in payloads.iter_mut().zip([0, 0, 1, 1, 1, 2]) {
        datagrams.write(sequence, payload);
    }
    payloads[2][39] ^= 4;
    payloads[3].pop();
    payloads[4].push(0);
    payloads[5][7] ^= 1;
    for payload in &payloads {
        from.send_to(payload, target).expect("send");
    }
    let (stop, stopper) = io::pipe().expect("pipe");
    drop(stopper);
    let report = receiver.run(stop).expect("receive").report;
    assert_eq!((report.received, report.distinct), (2, 1));
    assert_eq!((report.corrupted, report.foreign), (3, 1));
    assert!(!report.is_exact(1));
}

#[test]
fn a_send_that_the_kernel_refuses_is_an_error() {
    let lab = Lab::new();
    for (a, b) in address_pairs() {
        for fragmentation in [Fragmentation::Forbid, Fragmentation::Probe] {
            let options = StreamOptions {
                payload_len: 3000,
                fragmentation,
                ..StreamOptions::new(a, b)
            };
            let error = udp_stream(&lab.a, &lab.b, &options).expect_err("too large");
            let ProbeError::Io { step, source, .. } = &error else {
                panic!("{error}");
            };
            assert_eq!(
                (*step, source.raw_os_error()),
                ("send", Some(libc::EMSGSIZE))
            );
            assert!(error.to_string().contains(lab.a.name()), "{error}");
        }
    }
    let (a, b) = address_pairs()[0];
    let elsewhere = StreamOptions::new(a, address("10.1.0.77"));
    let error = udp_stream(&lab.a, &lab.b, &elsewhere).expect_err("not b's address");
    assert!(matches!(error, ProbeError::Io { step: "bind", .. }));
    for payload_len in [StreamOptions::PAYLOAD_MIN - 1, 65_508] {
        let options = StreamOptions {
            payload_len,
            ..StreamOptions::new(a, b)
        };
        let result = udp_stream(&lab.a, &lab.b, &options);
        assert!(matches!(result, Err(ProbeError::Invalid { .. })));
    }
}
