//! Advice as it is to be typed: the library says `netpath up`, and does not know what was typed for the command that it serves.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::Path,
    sync::OnceLock,
};

/// What was typed for this process.
static TYPED: OnceLock<Typed> = OnceLock::new();

struct Typed {
    /// The file that `-f` named.
    file: Option<String>,
    /// All that followed the program's name.
    arguments: String,
}

/// Notes what was typed: `file` is the topology file that was given.
pub(super) fn is_typed_as(file: Option<&Path>) {
    // A second one, in a test, changes nothing.
    let _noted = TYPED.set(Typed::of(file, env::args_os().skip(1)));
}

/// The text, with its commands as they are to be typed.
pub(super) fn typed(text: &str) -> String {
    TYPED
        .get()
        .map_or_else(|| text.to_owned(), |typed| typed.completed(text))
}

impl Typed {
    fn of(file: Option<&Path>, arguments: impl Iterator<Item = OsString>) -> Self {
        let arguments: Vec<String> = arguments.map(|word| quoted(&word)).collect();
        Self {
            file: file.map(|file| quoted(file.as_os_str())),
            arguments: arguments.join(" "),
        }
    }

    /// Every second part of a text between backticks is a command.
    fn completed(&self, text: &str) -> String {
        let mut parts: Vec<String> = text.split('`').map(str::to_owned).collect();
        let last = parts.len() - 1;
        let commands = parts[..last].iter_mut().skip(1).step_by(2);
        commands.for_each(|command| *command = self.command(command));
        parts.join("`")
    }

    /// That of another namespace is always the one that was typed, to be typed there.
    fn command(&self, command: &str) -> String {
        match (command, &self.file) {
            ("netpath up" | "netpath down", Some(file)) => format!("{command} -f {file}"),
            _ => match command.split_once(" netpath ") {
                Some((entry, _)) if entry.starts_with("nsenter ") => {
                    format!("{entry} netpath {}", self.arguments)
                }
                _ => command.to_owned(),
            },
        }
    }
}

/// A word as a shell takes it for one.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./,:=@%+".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.into_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(file: Option<&str>, arguments: &str) -> Typed {
        let arguments = arguments.split_whitespace().map(OsString::from);
        Typed::of(file.map(Path::new), arguments)
    }

    #[test]
    fn a_command_has_the_file_that_was_given() {
        let told = "va1 is down: `netpath up` mends it, `netpath down` and `netpath show` do not";
        let named = "va1 is down: `netpath up -f lab.toml` mends it, `netpath down -f lab.toml` and `netpath show` do not";
        let line = "up -f lab.toml";
        assert_eq!(typed(Some("lab.toml"), line).completed(told), named);
        assert_eq!(typed(None, "up").completed(told), told);
    }

    #[test]
    fn a_command_for_another_namespace_has_the_arguments_that_were_given() {
        let typed = typed(Some("lab.toml"), "-v down -f lab.toml --prune");
        let told = "run `nsenter --net=/run/netns/H netpath down`";
        assert_eq!(
            typed.completed(told),
            "run `nsenter --net=/run/netns/H netpath -v down -f lab.toml --prune`"
        );
        let other = "remove it with `nsenter --net=/run/netns/H ip route del 10.0.1.0/24`";
        assert_eq!(typed.completed(other), other);
    }

    #[test]
    fn a_word_is_one_to_a_shell() {
        for (word, expected) in [
            ("/etc/netpath/a-b_1.toml", "/etc/netpath/a-b_1.toml"),
            ("my lab.toml", "'my lab.toml'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(OsStr::new(word)), expected);
        }
    }

    /// A backtick without another one begins no command.
    #[test]
    fn a_text_without_commands_stays() {
        for told in ["", "`", "no command", "an odd ` backtick netpath up"] {
            assert_eq!(typed(Some("x"), "up -f x").completed(told), told);
        }
    }
}
