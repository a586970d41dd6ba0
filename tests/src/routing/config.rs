//! The configurations of docs/multi-node, which are those of machine 1, as other machines have them.

use super::Daemon;

/// What comes before a machine's number in addresses, names and numbers of systems.
const NUMBERED: [&str; 10] = [
    "192.168.100.",
    "10.20.",
    "fd00:100::",
    "fd20:",
    "fe80::",
    "as 6500",
    "bgp 6500",
    "\"m",
    "\"p",
    "\"vp",
];

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        /// All that there are, by name.
        pub const FILES: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../../docs/multi-node/", $name)))),+];
    };
}
files!(
    "netpath.toml",
    "bird-mesh.conf",
    "bird-reflected.conf",
    "bird-reflector.conf",
    "bird-leaf.conf",
    "bird-spine.conf",
    "frr-mesh.conf",
    "frr-reflected.conf",
    "frr-reflector.conf",
    "frr-leaf.conf",
    "frr-spine.conf",
);

/// What a machine is to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// On one wire with the others, each in a session with each.
    Mesh,
    /// On one wire with the others, in a session with the reflector alone.
    Reflected,
    /// The reflector.
    Reflector,
    /// Behind two spines, on links without addresses.
    Leaf,
    /// One of them.
    Spine,
}

impl Role {
    fn file(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::Reflected => "reflected",
            Self::Reflector => "reflector",
            Self::Leaf => "leaf",
            Self::Spine => "spine",
        }
    }
}

fn file(name: &str) -> &'static str {
    let found = FILES.iter().find(|(its, _)| *its == name);
    found.unwrap_or_else(|| panic!("no file {name}")).1
}

/// The file of a machine's node; `@` stands for its prefix.
pub fn node(number: u8) -> String {
    let text = of_machine(file("netpath.toml"), number);
    text.replace("\"m", "\"@m").replace("\"p", "\"@p")
}

/// The file of a machine's routing daemon. That of a spine is the same for all but its name.
pub fn daemon(kind: Daemon, role: Role, number: u8) -> String {
    let text = file(&format!("{}-{}.conf", kind.name(), role.file()));
    match role {
        Role::Spine => text.replace("192.168.100.101", &format!("192.168.100.10{number}")),
        Role::Reflector => text.to_owned(),
        Role::Mesh | Role::Reflected | Role::Leaf => of_machine(text, number),
    }
}

/// As one of machine 1, with the numbers 1 and that of the machine exchanged.
fn of_machine(text: &str, number: u8) -> String {
    let mut written = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let found = NUMBERED.iter().find(|prefix| rest.starts_with(**prefix));
        let prefix = found.copied().unwrap_or_default();
        let behind = &rest[prefix.len()..];
        let digits = behind.chars().take_while(char::is_ascii_hexdigit).count();
        match (prefix, &behind[..digits]) {
            ("", _) => {
                written.push(first);
                rest = &rest[first.len_utf8()..];
            }
            (_, its) => {
                let exchanged = match its.parse::<u8>() {
                    Ok(1) => number.to_string(),
                    Ok(other) if other == number => "1".to_owned(),
                    _ => its.to_owned(),
                };
                written += prefix;
                written += &exchanged;
                rest = &behind[digits..];
            }
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What people read is what is run.
    #[test]
    fn the_document_has_every_file_word_for_word() {
        let document = include_str!("../../../docs/multi-node.md");
        for (name, text) in FILES {
            let link = format!("[`{name}`](multi-node/{name})");
            let (_, behind) = document
                .split_once(&link)
                .unwrap_or_else(|| panic!("no {link}"));
            let (_, block) = behind.trim_start().split_once('\n').expect("a block");
            let (block, _) = block.split_once("```").expect("its end");
            assert_eq!(block, *text, "{name}");
        }
    }

    #[test]
    fn another_machine_has_its_own_numbers() {
        let text = daemon(Daemon::Bird, Role::Mesh, 2);
        for line in [
            "router id 192.168.100.2;",
            "route 10.20.2.0/24 blackhole;",
            "route fd20:2::/64 blackhole;",
            "local fd00:100::2 as 65000;",
            "neighbor 192.168.100.1 as 65000;",
            "neighbor fd00:100::3 as 65000;",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let leaf = daemon(Daemon::Frr, Role::Leaf, 3);
        assert!(
            leaf.starts_with("router bgp 65003\n bgp router-id 192.168.100.3\n"),
            "{leaf}"
        );
        let leaf = daemon(Daemon::Bird, Role::Leaf, 3);
        assert!(leaf.contains("neighbor fe80::102%up1 as 65100;"), "{leaf}");
        let node = node(2);
        let addresses = r#"addresses = ["10.20.2.2/24", "fd20:2::2/64"]"#;
        assert!(
            node.contains(addresses) && node.contains("\"vp2\""),
            "{node}"
        );
        assert!(
            node.contains("10.20.0.0/16") && node.contains("\"@m2\""),
            "{node}"
        );
    }
}
