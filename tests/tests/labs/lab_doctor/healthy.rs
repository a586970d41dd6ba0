//! Where nothing is wrong nothing is found.

use netpath_tests::{
    command::TempFile,
    lab::{HUB, Lab, ONE_NODE, TWO_NODES, addresses, on_a_machine},
};

use super::{Patient, Told};

const IPV4_ONLY: &str = r#"
[[node]]
name = "@A"
uplink = [{ dev = "up0", addresses = ["100.100.198.250/24"], wire = "@w" }]
endpoint = [{ name = "@a1", addresses = ["10.0.1.2/24"] }]
"#;

/// A node with so many endpoints.
fn many(count: usize) -> String {
    let mut text = "[[node]]\nname = \"@A\"\nuplink = [{ dev = \"up0\", addresses = [\"100.100.198.250/24\"], wire = \"@w\" }]\n"
        .to_owned();
    for number in 0..count {
        text += &format!(
            "[[node.endpoint]]\nname = \"@e{number}\"\naddresses = [\"10.0.{}.{}/32\"]\n",
            number / 200,
            number % 200 + 2
        );
    }
    text
}

#[test]
fn a_healthy_lab_is_ok() {
    let many = many(40);
    for text in [ONE_NODE, TWO_NODES, HUB, IPV4_ONLY, &many] {
        let patient = Patient::new(text);
        if text == TWO_NODES {
            for dst in addresses("b1") {
                patient.lab.assert_reaches("a1", dst, 62);
            }
        }
        let told = patient.told();
        assert_eq!(told.not_ok(), Vec::<String>::new(), "{text}");
        assert_eq!(told.status, Some(0));
        let told = Told::by(&["--node", &patient.lab.name("A"), "--probe"]);
        assert_eq!(told.not_ok(), Vec::<String>::new(), "{text}");
        assert_eq!(
            told.document["nodes"],
            serde_json::json!([patient.lab.name("A")])
        );
    }
}

#[test]
fn a_healthy_machine_is_ok() {
    on_a_machine(|lab| {
        let file = TempFile::new(lab.text());
        lab.converge();
        for family in [0, 1] {
            lab.assert_reaches("a1", addresses("b1")[family], 63);
        }
        let told = Told::by(&["-f", file.path(), "--probe"]);
        assert_eq!(told.not_ok(), Vec::<String>::new());
        assert_eq!(told.status, Some(0));
    });
}

#[test]
fn with_nothing_up_the_machine_is_looked_at() {
    let lab = Lab::prepare(ONE_NODE);
    let file = TempFile::new(lab.text());
    let told = Told::by(&["-f", file.path()]);
    // It is no fault that it is not up yet.
    assert_eq!(told.words(&lab), ["not_up of node A"]);
    assert_eq!(told.status, Some(0));
    assert_eq!(told.document["nodes"], serde_json::json!([]));
    lab.assert_nothing_left();
}
