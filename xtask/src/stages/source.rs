//! Finding a removal's lines in the source, and taking them out.

use std::ops::Range;

use anyhow::{Result, bail};

use super::removals::Removal;

/// The source without what is to be removed.
pub fn without(source: &str, removal: &Removal) -> Result<String> {
    let found = find(source, removal)?;
    let lines: Vec<&str> = source.lines().collect();
    let kept = |range: &[&str]| {
        range
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    let instead = kept(removal.instead);
    Ok(kept(&lines[..found.start]) + &instead + &kept(&lines[found.end..]))
}

/// Which lines of the source these are, counted from 0.
pub fn find(source: &str, removal: &Removal) -> Result<Range<usize>> {
    let lines: Vec<&str> = source.lines().collect();
    let function = function(&lines, removal)?;
    let length = removal.lines.len();
    let mut places = function
        .clone()
        .filter(|&at| at + length <= function.end)
        .filter(|&at| {
            let here = lines[at..at + length].iter().map(|line| line.trim());
            here.eq(removal.lines.iter().copied())
        });
    match (places.next(), places.next()) {
        (Some(at), None) => Ok(at..at + length),
        (first, _) => bail!(
            "netpath-ebpf/src/{}: these lines stand {} in `{}`; bring `{}` in \
             xtask/src/stages/removals.rs in step with them:\n{}",
            removal.file,
            if first.is_none() {
                "nowhere"
            } else {
                "more than once"
            },
            removal.function,
            removal.stage,
            removal.lines.join("\n")
        ),
    }
}

/// The lines of the removal's function: up to the brace that stands below its first line.
fn function(lines: &[&str], removal: &Removal) -> Result<Range<usize>> {
    let is_first = |line: &&str| {
        let line = line.trim_start();
        line.strip_prefix("pub ")
            .unwrap_or(line)
            .strip_prefix(removal.function)
            .is_some_and(|rest| rest.starts_with(['(', '<']))
    };
    let mut firsts = (0..lines.len()).filter(|&at| is_first(&lines[at]));
    let (Some(first), None) = (firsts.next(), firsts.next()) else {
        bail!(
            "netpath-ebpf/src/{} has not exactly one `{}`; bring `{}` in xtask/src/stages/removals.rs in step",
            removal.file,
            removal.function,
            removal.stage
        );
    };
    let indentation = lines[first].len() - lines[first].trim_start().len();
    let end = format!("{}}}", &lines[first][..indentation]);
    let length = lines[first..].iter().position(|line| *line == end);
    Ok(first..length.map_or(lines.len(), |length| first + length))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;
    use crate::stages::removals::{ELSEWHERE, IN_PARTS, REMOVALS};

    fn read(file: &str) -> String {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        fs::read_to_string(workspace.join("netpath-ebpf/src").join(file)).unwrap()
    }

    #[test]
    fn every_removal_is_found_once_and_changes_the_source() {
        for removal in REMOVALS {
            let source = read(removal.file);
            let without = without(&source, removal).unwrap();
            assert_ne!(without, source, "{}", removal.stage);
        }
        let names: BTreeSet<&str> = REMOVALS.iter().map(|removal| removal.stage).collect();
        assert_eq!(names.len(), REMOVALS.len(), "two removals have one name");
    }

    /// A line of pipeline.rs that calls into a stage's file, or that may end the packet's way.
    fn is_stage(line: &str) -> bool {
        let line = line.trim();
        let is_code = !line.starts_with("//") && !line.starts_with("use ");
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let calls_a_module = line.match_indices("::").any(|(at, _)| {
            let module = line[..at].rsplit(|c| !is_word(c)).next();
            let is_module = module.is_some_and(|name| name.starts_with(char::is_lowercase));
            let function = &line[at + 2..];
            let called = function.trim_start_matches(is_word);
            is_module && called.len() < function.len() && called.starts_with(['(', ':'])
        });
        is_code && (line.contains('?') || calls_a_module)
    }

    /// The lines of a pipeline whose removal nothing tests.
    fn forgotten(pipeline: &str) -> Vec<&str> {
        let removed: Vec<_> = REMOVALS
            .iter()
            .filter(|removal| removal.file == "pipeline.rs")
            .filter_map(|removal| find(pipeline, removal).ok())
            .collect();
        let is_covered = |at: &usize| removed.iter().any(|lines| lines.contains(at));
        let is_in_parts = |line: &str| {
            let mut others = IN_PARTS.iter().chain(ELSEWHERE);
            others.any(|(call, _)| line.contains(call))
        };
        pipeline
            .lines()
            .enumerate()
            .filter(|(at, line)| is_stage(line) && !is_covered(at) && !is_in_parts(line))
            .map(|(_, line)| line.trim())
            .collect()
    }

    #[test]
    fn no_stage_is_forgotten() {
        let pipeline = read("pipeline.rs");
        assert_eq!(forgotten(&pipeline), [""; 0], "add them to removals.rs");
        let stages = pipeline.lines().filter(|line| is_stage(line)).count();
        assert!(stages >= 15, "only {stages} lines look like stages");
        for (call, file) in IN_PARTS {
            assert!(pipeline.contains(call), "{call} is gone");
            assert!(REMOVALS.iter().any(|removal| removal.file == *file));
        }
        for (call, test) in ELSEWHERE {
            assert!(pipeline.contains(call), "{call} is gone");
            let test = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(test);
            assert!(test.exists(), "{} is gone", test.display());
        }
    }

    #[test]
    fn a_new_stage_is_noticed() {
        let ttl = "    checks::ttl(packet)?;\n";
        for new in [
            "    policy::egress(skb, packet)?;\n",
            "    mirror::copy(skb);\n",
            "    mirror::copy::<F>(skb);\n",
        ] {
            let with = read("pipeline.rs").replacen(ttl, &format!("{ttl}{new}"), 1);
            assert_eq!(forgotten(&with), [new.trim()]);
        }
    }

    const REMOVAL: Removal = Removal {
        stage: "b",
        file: "x.rs",
        function: "fn f",
        lines: &["b();"],
        instead: &["c();"],
    };

    #[test]
    fn lines_are_removed_from_their_function_only() {
        let source = "pub fn f() {\n    a();\n    b();\n}\nfn g() {\n    b();\n}\n";
        let expected = "pub fn f() {\n    a();\nc();\n}\nfn g() {\n    b();\n}\n";
        assert_eq!(without(source, &REMOVAL).unwrap(), expected);
    }

    #[test]
    fn a_change_to_the_lines_is_refused() {
        for (source, problem) in [
            ("fn f() {\n    b(1);\n}\nfn g() {\n    b();\n}\n", "nowhere"),
            ("fn f() {\n    b();\n    b();\n}\n", "more than once"),
            ("fn h() {\n    b();\n}\n", "exactly one `fn f`"),
        ] {
            let error = without(source, &REMOVAL).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
