//! netpath-reasons(7), of the registry of reasons.

use clap_mangen::roff::{Roff, bold, roman};
use netpath_common::{DropReason, PuntReason};

use super::{Page, begin};

pub(super) fn page() -> Page {
    let mut roff = begin(
        "netpath-reasons",
        "7",
        "why netpath punted or dropped a packet",
    );
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(
        "netpath-stats(1) counts every packet that enters one of netpath's interfaces exactly once: as redirected, as punted or as \
         dropped. For what was punted or dropped it names the reason. Names and numbers are stable and never used for anything else.",
    )]);
    roff.control("SH", ["PUNTED"]);
    roff.text([roman(
        "Left to the kernel's own forwarding path, untouched, as if netpath were not there.",
    )]);
    for reason in PuntReason::ALL {
        explain(&mut roff, reason.name(), reason.number(), reason.means());
    }
    roff.control("SH", ["DROPPED"]);
    for reason in DropReason::ALL {
        explain(&mut roff, reason.name(), reason.number(), reason.means());
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman("netpath(1), netpath-stats(1), netpath.toml(5)")]);
    Page {
        name: "netpath-reasons".to_owned(),
        section: "7",
        text: roff.render().into_bytes(),
    }
}

fn explain(roff: &mut Roff, name: &str, number: u16, means: &str) {
    roff.control("TP", []);
    roff.text([bold(name), roman(format!(" ({number})"))]);
    // Marks of the source's documentation.
    roff.text([roman(means.replace('`', ""))]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_explained() {
        let text = String::from_utf8(page().text).expect("text");
        let punts = PuntReason::ALL
            .iter()
            .map(|reason| (reason.name(), reason.means()));
        let drops = DropReason::ALL
            .iter()
            .map(|reason| (reason.name(), reason.means()));
        for (name, means) in punts.chain(drops) {
            assert!(text.contains(&format!("\\fB{name}\\fR (")), "{name}");
            let is_sentence = means.ends_with('.') && !means.contains("  ") && means.len() > 3;
            assert!(is_sentence, "{name}: {means:?}");
        }
        assert!(
            text.contains("TTL or hop limit of 1 or 0: the kernel sends Time Exceeded."),
            "{text}"
        );
    }
}
