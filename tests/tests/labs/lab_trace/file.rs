//! What is written to a file.

use std::{fs, path::PathBuf};

use netpath_tests::lab::{Lab, ONE_NODE, addresses};

use super::trace;

/// A block of a pcapng file: its type and its body.
fn blocks(bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("a word"));
    let (mut blocks, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let length = word(at + 4) as usize;
        assert_eq!(word(at + length - 4) as usize, length, "at {at}");
        blocks.push((word(at), &bytes[at + 8..at + length - 4]));
        at += length;
    }
    blocks
}

#[test]
fn a_file_holds_the_packets_of_each_place_and_what_became_of_them() {
    let lab = Lab::up(ONE_NODE);
    let path: PathBuf = std::env::temp_dir().join(format!("{}.pcapng", lab.prefix()));
    let shown = path.to_str().expect("text");
    let (document, status) = trace(&lab, &format!("@a1 @a2 -c 2 -w {shown}"));
    assert_eq!(status, Some(0), "{document:#}");
    let bytes = fs::read(&path).expect("written");
    let tshark = std::process::Command::new("tshark")
        .args([
            "-r",
            shown,
            "-T",
            "fields",
            "-e",
            "ip.src",
            "-e",
            "ip.dst",
            "-e",
            "frame.comment",
        ])
        .output();
    fs::remove_file(&path).expect("it is there");

    let blocks = blocks(&bytes);
    let of = |kind: u32| blocks.iter().filter(move |block| block.0 == kind);
    let names: Vec<String> = of(1)
        .map(|(_, body)| {
            let length = usize::from(u16::from_ne_bytes([body[10], body[11]]));
            String::from_utf8_lossy(&body[12..12 + length]).replace(lab.prefix(), "")
        })
        .collect();
    assert_eq!(blocks[0].0, 0x0a0d_0d0a);
    assert_eq!(names, ["a1/eth0", "A/va1", "a2/eth0", "A/va2"]);
    // Each packet as it was sent, received and taken in.
    let packets: Vec<_> = of(6).collect();
    assert_eq!(packets.len(), 4 * 3);
    for (_, body) in packets {
        let text = String::from_utf8_lossy(body);
        assert!(text.contains("arrived at "), "{text}");
        assert_eq!(body[20] >> 4, 4, "an IPv4 header");
    }
    if let Ok(output) = tshark {
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.lines().count(), 4 * 3, "{output:?}");
        let [from, to] = ["a1", "a2"].map(|it| addresses(it)[0].to_string());
        assert!(
            text.starts_with(&format!("{from}\t{to}\tarrived at ")),
            "{text}"
        );
    }
}
