//! Taking out what people write beside what is meant for the kernel: comments, in which tokens and passwords are kept.

/// What stands in the place of a comment.
const GONE: &str = "(left out)";

/// A TOML text that is valid, without its comments.
pub(super) fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => {
                rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
                continue;
            }
            '"' | '\'' => string(rest, first),
            first => first.len_utf8(),
        };
        kept.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    kept
}

/// The length of the string that a text begins with.
fn string(text: &str, quote: char) -> usize {
    let three: String = [quote; 3].iter().collect();
    let end = match text.starts_with(&three) {
        true => three.as_str(),
        false => &three[..1],
    };
    let mut at = end.len();
    while at < text.len() && !text[at..].starts_with(end) {
        let mut chars = text[at..].chars();
        let first = chars.next().map_or(1, char::len_utf8);
        // Only strings in double quotes have escapes.
        let escaped = match quote == '"' && text[at..].starts_with('\\') {
            true => chars.next().map_or(0, char::len_utf8),
            false => 0,
        };
        at += first + escaped;
    }
    // Up to two quotes may stand before the three that end it.
    at = (at + end.len()).min(text.len());
    while end.len() == 3 && text[at..].starts_with(quote) {
        at += 1;
    }
    at
}

/// What a tool lists, without the comments of rules and the aliases of interfaces.
pub(super) fn listing(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let trimmed = line.trim_start();
        if trimmed.starts_with("alias ") {
            let indent = &line[..line.len() - trimmed.len()];
            return format!("{indent}alias {GONE}\n");
        }
        if trimmed.starts_with('#') {
            return format!("{line}\n");
        }
        format!("{}\n", rule(line))
    });
    lines.collect()
}

/// A document of netpath's own, without the comments of the rules that it quotes: JSON as `serde_json` prints it for people, one string
/// a line besides its name.
pub(super) fn document(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let at = line.find('"').unwrap_or(line.len());
        let first = at + string(&line[at..], '"').min(line.len() - at);
        let value = match line[first..].find(": \"") {
            Some(0) => first + 2,
            _ => at,
        };
        let end = value + string(&line[value..], '"').min(line.len() - value);
        match serde_json::from_str::<String>(&line[value..end]) {
            Ok(said) if rule(&said) != said => {
                let kept = serde_json::Value::from(rule(&said));
                format!("{}{kept}{}", &line[..value], &line[end..])
            }
            _ => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A line with rules' comments: `--comment word`, `--comment "words"` of iptables and `comment "words"` of nft.
fn rule(line: &str) -> String {
    let mut kept = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("comment ") {
        let (before, after) = rest.split_at(at + "comment ".len());
        let is_its = ["--comment ", " comment ", "\tcomment "]
            .iter()
            .any(|word| before.ends_with(word))
            || before == "comment ";
        kept.push_str(before);
        // The match itself: `-m comment --comment ...`.
        if !is_its || before.ends_with("-m comment ") {
            rest = after;
            continue;
        }
        let length = match after.starts_with('"') {
            true => string(after, '"'),
            // Only iptables has them without quotes; else it is a word of a sentence.
            false if !before.ends_with("--comment ") => {
                rest = after;
                continue;
            }
            false => after.find(' ').unwrap_or(after.len()),
        };
        kept.push_str(&format!("\"{GONE}\""));
        rest = &after[length..];
    }
    kept + rest
}

/// Whether a setting is one that nobody else is to know.
pub(super) fn is_secret(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    name.contains("secret") || name.ends_with("_key") || name.contains("fastopen_key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_strings_stay() {
        let text = "# token: abc\n[[node]] # abc\nname = \"a#b\"\nx = 'c#d\\' # abc\ny = \"e\\\"#f\" # abc\n\
                    z = \"\"\"g\n# h \"\"\"\" # abc\nlast = '''i#\n''' # abc";
        let kept = without_comments(text);
        assert!(!kept.contains("abc"), "{kept}");
        for part in [
            "a#b",
            "'c#d\\'",
            "\"e\\\"#f\"",
            "# h \"\"\"\"",
            "i#\n'''",
            "[[node]]",
        ] {
            assert!(kept.contains(part), "no {part} in {kept}");
        }
        assert_eq!(kept.lines().count(), text.lines().count());
        assert_eq!(without_comments("a = \"unfinished"), "a = \"unfinished");
    }

    #[test]
    fn comments_of_rules_go() {
        for (line, expected) in [
            (
                "-A FORWARD -m comment --comment \"token abc\" -j ACCEPT",
                "-A FORWARD -m comment --comment \"(left out)\" -j ACCEPT",
            ),
            (
                "-A FORWARD -m comment --comment abc -j ACCEPT",
                "-A FORWARD -m comment --comment \"(left out)\" -j ACCEPT",
            ),
            (
                "\t\tip saddr 10.0.0.1 accept comment \"abc \\\" abc\"",
                "\t\tip saddr 10.0.0.1 accept comment \"(left out)\"",
            ),
            ("\tcomment \"abc\"", "\tcomment \"(left out)\""),
            ("-A FORWARD -j ACCEPT", "-A FORWARD -j ACCEPT"),
        ] {
            assert_eq!(rule(line), expected);
        }
        assert_eq!(
            listing("2: eth0\n    alias abc\n"),
            "2: eth0\n    alias (left out)\n"
        );
    }

    #[test]
    fn comments_of_quoted_rules_go() {
        #[derive(serde::Serialize)]
        struct Quoting {
            text: &'static str,
            comment: &'static str,
            list: [&'static str; 2],
            empty: &'static str,
            number: u32,
        }
        let quoting = |text, list| Quoting {
            text,
            comment: "a comment of one",
            list,
            empty: "",
            number: 7,
        };
        let printed = |it: &Quoting| serde_json::to_string_pretty(it).expect("JSON");
        let with = quoting(
            "rule 1 of FORWARD: -A FORWARD -m comment --comment \"t \\\" abc\" -j DROP",
            [
                "ip saddr 10.0.0.1 drop comment \"abc\" # x",
                "-m comment --comment abc",
            ],
        );
        let without = quoting(
            "rule 1 of FORWARD: -A FORWARD -m comment --comment \"(left out)\" -j DROP",
            [
                "ip saddr 10.0.0.1 drop comment \"(left out)\" # x",
                "-m comment --comment \"(left out)\"",
            ],
        );
        assert_eq!(document(&printed(&with)), printed(&without));
        assert_eq!(document("[]"), "[]");
    }

    #[test]
    fn secrets_are_known() {
        for key in [
            "net/ipv4/tcp_fastopen_key",
            "net/ipv6/conf/eth0/stable_secret",
        ] {
            assert!(is_secret(key), "{key}");
        }
        for key in ["net/ipv4/tcp_syncookies", "net/ipv4/ip_forward"] {
            assert!(!is_secret(key), "{key}");
        }
    }
}
