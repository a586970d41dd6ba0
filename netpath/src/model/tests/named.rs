//! The names of nodes, also of a file with mistakes.

use super::super::{BUILTIN_LAB, NamedNodes};

fn names(text: &str) -> (Vec<String>, usize, bool) {
    let named = NamedNodes::parse("lab.toml", text).expect("it names nodes");
    (named.names, named.unnamed, named.errors.is_some())
}

#[test]
fn a_valid_file_names_all_its_nodes() {
    let expected = (vec!["node03".into(), "node02".into()], 0, false);
    assert_eq!(names(BUILTIN_LAB), expected);
}

#[test]
fn a_file_with_mistakes_names_those_that_it_can() {
    let text = "speed = 1\n[[node]]\nname = \"a\"\nmtu = \"x\"\n[[node]]\nname = \"b/c\"\n[[node]]\n\
                [[node.endpoint]]\nname = \"e\"\n[[node]]\nname = \"a\"\n[[node]]\nname = \"d\"\n";
    assert_eq!(names(text), (vec!["a".into(), "d".into()], 2, true));
}

#[test]
fn nothing_is_guessed_of_a_text_that_says_nothing_for_certain() {
    for text in [
        "",
        "node = 1",
        "[node]\nname = \"a\"",
        "[[node]]\nname = \"..\"",
        "[[node]]\nname = \"a\"\n[[node.endpoint\nname = \"b\"",
        "[[node]]\nname = \"a\"\nname = \"b\"",
    ] {
        let errors = NamedNodes::parse("lab.toml", text).expect_err(text);
        assert!(!errors.findings().is_empty(), "{text}");
    }
}

/// As `up` has it of a valid file; a file with mistakes says so too.
#[test]
fn a_file_says_whether_to_make_haste() {
    for (keys, expedite) in [
        ("", true),
        ("expedite = false\n", false),
        ("netns = \"host\"\n", false),
        ("netns = \"host\"\nexpedite = true\n", true),
        ("expedite = \"no\"\n", true),
        (
            "expedite = false\n[[node]]\nname = \"b\"\nnetns = \"host\"\n",
            false,
        ),
        ("expedite = false\n[[node]]\nname = \"b\"\n", true),
    ] {
        for mistake in ["", "speed = 1\n"] {
            let text = format!("{mistake}[[node]]\nname = \"a\"\n{keys}");
            let named = NamedNodes::parse("lab.toml", &text).expect("it names nodes");
            assert_eq!(named.expedite, expedite, "{text}");
        }
    }
}
