//! Sessions that documents print, typed as they stand.
//!
//! A `console` block after the comment `<!-- MARK -->` is run line by line: `# ` starts a command, which has to succeed, and
//! all other lines are what it prints. There `...` stands for anything, as a line of its own for any lines. A command with nothing
//! after it may print what it likes.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::binary;

/// The first block of a language after `from`: where its text starts, and the text.
///
/// # Panics
/// When there is none.
pub fn block<'t>(text: &'t str, from: usize, language: &str) -> (usize, &'t str) {
    let fence = format!("```{language}\n");
    let start = text[from..].find(&fence).map(|at| from + at + fence.len());
    let start = start.unwrap_or_else(|| panic!("it has no {language} block after {from}"));
    let end = text[start..].find("```").expect("the block ends");
    (start, &text[start..start + end])
}

/// One command of a session and what is printed after it.
pub struct Step<'t> {
    command: &'t str,
    printed: Vec<&'t str>,
}

/// The steps of all blocks with a mark; at least one.
///
/// # Panics
/// When there is none.
pub fn sessions<'t>(text: &'t str, mark: &str) -> Vec<Step<'t>> {
    let mark = format!("<!-- {mark} -->");
    let blocks = text
        .match_indices(&mark)
        .map(|(at, _)| block(text, at, "console").1);
    let mut steps: Vec<Step<'_>> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        match (line.strip_prefix("# "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step {
                command,
                printed: Vec::new(),
            }),
            (None, Some(step)) => step.printed.push(line),
            (None, None) => panic!("{line:?} is printed by no command"),
        }
    }
    assert!(!steps.is_empty(), "there is no block {mark}");
    steps
}

/// Whether a line is as printed, where `...` stands for anything. How far columns are apart depends on what is in them.
fn is_like(line: &str, printed: &str) -> bool {
    let spaced = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (line, printed) = (spaced(line), spaced(printed));
    let Some((start, rest)) = printed.split_once("...") else {
        return line == printed;
    };
    let Some(mut left) = line.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split("...").collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.split_once(part) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    left.ends_with(end)
}

fn are_like(lines: &[&str], printed: &[&str]) -> bool {
    match (printed.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((&"...", rest)), _) => {
            (0..=lines.len()).any(|skipped| are_like(&lines[skipped..], rest))
        }
        (Some((printed, rest)), Some((line, after))) => {
            is_like(line, printed) && are_like(after, rest)
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// A directory to work in, gone with the test.
pub struct Directory(pub PathBuf);

impl Directory {
    /// An empty one.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(of: &str) -> Self {
        let path = env::temp_dir().join(format!("netpath-session-{}-{of}", std::process::id()));
        fs::create_dir(&path).expect("a temporary directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// Types a session as it stands, in the calling thread's namespace.
///
/// # Panics
/// When a command fails, or prints something else.
pub fn play(steps: &[Step<'_>], directory: &Directory) {
    let binaries = binary().parent().expect("a directory").to_owned();
    let path = env::var("PATH").expect("PATH");
    for Step { command, printed } in steps {
        let output = Command::new("sh")
            .args(["-c", &format!("{{ {command}\n}} 2>&1")])
            .env("PATH", format!("{}:{path}", binaries.display()))
            .current_dir(&directory.0)
            .stdin(Stdio::null())
            .output()
            .expect("start");
        let seen = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "# {command}\n{seen}");
        // Said where a test has a bpffs of its own above the machine's.
        let is_own = |line: &&str| !line.contains("/sys/fs/bpf is mounted twice");
        let lines: Vec<&str> = seen.lines().filter(is_own).collect();
        assert!(
            printed.is_empty() || are_like(&lines, printed),
            "# {command}\nprints\n{seen}\nand not\n{}",
            printed.join("\n")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_like_what() {
        for (line, printed) in [
            ("a b", "a b"),
            ("a b  ", "a b"),
            ("time 2031ms", "time ...ms"),
            ("node03 up0   5", "node03  up0  ..."),
            ("3 of 4 in 5 s", "3 of ... in ... s"),
        ] {
            assert!(is_like(line, printed), "{line}");
        }
        for (line, printed) in [("a c", "a b"), ("time 3s", "time ...ms"), ("", "a")] {
            assert!(!is_like(line, printed), "{line}");
        }
        assert!(are_like(&["a", "b", "c"], &["a", "...", "c"]));
        assert!(are_like(&["a"], &["...", "a", "..."]));
        assert!(!are_like(&["a", "b"], &["a"]) && !are_like(&["a"], &["a", "b"]));
    }
}
