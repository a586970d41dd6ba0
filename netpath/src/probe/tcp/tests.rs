use super::*;
use crate::probe::lab::{Lab, address, address_pairs};

#[test]
fn every_byte_arrives() {
    let lab = Lab::new();
    for (a, b) in address_pairs() {
        for bytes in [0, 1, 65_537, 3_000_000] {
            let options = TransferOptions {
                src: Some(a),
                bytes,
                ..TransferOptions::new(b)
            };
            let report = tcp_transfer(&lab.a, &lab.b, &options).expect("transfer");
            assert_eq!((report.bytes, report.peer.ip()), (bytes, a));
            assert_eq!(report.server.ip(), b);
            assert!(Duration::ZERO < report.connecting && report.connecting <= report.elapsed);
        }
    }
}

#[test]
fn silence_ends_with_the_deadline() {
    let lab = Lab::new();
    lab.lose_everything();
    for (_, b) in address_pairs() {
        let start = Instant::now();
        let options = TransferOptions {
            deadline: Duration::from_millis(150),
            ..TransferOptions::new(b)
        };
        let error = tcp_transfer(&lab.a, &lab.b, &options).expect_err("silence");
        let ProbeError::Deadline { step, object, .. } = &error else {
            panic!("{error}");
        };
        assert!(object.contains("client") && *step == "connect", "{error}");
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn a_refused_connection_ends_at_once() {
    let lab = Lab::new();
    lab.prohibit_everything();
    let start = Instant::now();
    let error = tcp_transfer(&lab.a, &lab.b, &TransferOptions::new(address("10.1.0.2")))
        .expect_err("prohibited");
    let ProbeError::Io { step, source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*step, "connect");
    assert_eq!(source.raw_os_error(), Some(libc::EHOSTUNREACH), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn altered_and_missing_bytes_are_found() {
    let lab = Lab::new();
    let (_, b) = address_pairs()[0];
    let receive = |bytes: u64, content: &[u8]| {
        let listener = lab.b.run(|| TcpListener::bind((b, 0))).expect("enter");
        let listener = listener.expect("bind");
        listener.set_nonblocking(true).expect("non-blocking");
        let server = listener.local_addr().expect("address");
        let mut client = lab
            .a
            .run(|| TcpStream::connect(server))
            .expect("enter")
            .expect("connect");
        client.write_all(content).expect("write");
        client.shutdown(Shutdown::Write).expect("shut down");
        let (stop, _stopper) = io::pipe().expect("pipe");
        let end = End {
            object: "server".to_owned(),
            until: deadline_after(Duration::from_secs(2)),
            deadline: Duration::from_secs(2),
            bytes,
            seed: 9,
        };
        end.receive(&listener, &stop)
    };
    let mut content = vec![0; 100_000];
    pattern::fill(9, 0, &mut content);
    receive(100_000, &content).expect("intact");
    for (bytes, received) in [(99_999, 100_000), (100_001, 100_000)] {
        match receive(bytes, &content) {
            Err(ProbeError::Length {
                expected,
                received: found,
                ..
            }) => assert_eq!((expected, found), (bytes, received)),
            other => panic!("{other:?}"),
        }
    }
    content[77_777] ^= 1;
    match receive(100_000, &content) {
        Err(ProbeError::Corrupt { offset, .. }) => assert_eq!(offset, 77_777),
        other => panic!("{other:?}"),
    }
}
