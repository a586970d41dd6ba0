//! netpath.toml(5).

use clap_mangen::roff::{bold, roman};
use netpath::model::BUILTIN_LAB;

use super::{Page, begin, keys::KEYS};

/// The tables by the keys that lead to them, and what each is.
const TABLES: [(&str, &str); 5] = [
    ("", "THE FILE"),
    ("node", "[[node]]"),
    ("node.uplink", "[[node.uplink]]"),
    ("node.route", "[[node.route]]"),
    ("node.endpoint", "[[node.endpoint]]"),
];

pub(super) fn page() -> Page {
    let mut roff = begin("netpath.toml", "5", "topology file of netpath");
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(
        "A topology file is TOML. It says which nodes, uplinks, routes and endpoints there are to be; netpath-up(1) makes it \
         true. All that is wrong with it is told at once, by line, with what to write instead, and then nothing is touched. \
         netpath-init(1) prints a file to start from.",
    )]);
    for (table, title) in TABLES {
        roff.control("SH", [title]);
        for key in KEYS.iter().filter(|key| key.table == table) {
            roff.control("TP", []);
            let value = if key.example.starts_with("[[") {
                String::new()
            } else {
                format!(" = {}", key.example)
            };
            roff.text([bold(key.name), roman(value)]);
            roff.text([roman(key.means)]);
        }
    }
    roff.control("SH", ["EXAMPLE"]);
    roff.text([roman("The built-in lab, which netpath init --lab prints:")]);
    roff.control("PP", []);
    roff.control("nf", []);
    for line in BUILTIN_LAB.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.control("SH", ["FILES"]);
    roff.control("TP", []);
    roff.text([bold("/etc/netpath/*.toml")]);
    roff.text([roman("What netpath.service brings up.")]);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(
        "netpath(1), netpath-up(1), netpath-init(1), netpath-reasons(7)",
    )]);
    Page {
        name: "netpath.toml".to_owned(),
        section: "5",
        text: roff.render().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_under_its_table() {
        assert!(
            KEYS.iter()
                .all(|key| TABLES.iter().any(|(table, _)| *table == key.table))
        );
        let text = String::from_utf8(page().text).expect("text");
        for key in KEYS {
            assert!(
                text.contains(&format!("\\fB{}\\fR", key.name)),
                "{}",
                key.name
            );
        }
    }
}
