//! `netpath bugreport`: one private archive with each part, and no secret.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use netpath_tests::{
    BinaryCopy,
    command::{TempFile, assert_ends, run_netpath},
    lab::{Lab, TWO_NODES, run},
    netpath,
};
use serde_json::Value;

const SCHEMA: &str = include_str!("../../../../docs/schema/bugreport.json");

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(lab: &Lab) -> Self {
        let path = std::env::temp_dir().join(format!("{}-report", lab.prefix()));
        fs::create_dir(&path).expect("a directory");
        Self(path)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// All files below a directory, by their path from its only directory.
fn files(below: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut open = vec![below.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let bytes = fs::read(&path).expect("a file");
            let name = path
                .strip_prefix(below)
                .expect("below")
                .display()
                .to_string();
            let (_, name) = name.split_once('/').expect("one directory");
            all.insert(
                name.to_owned(),
                String::from_utf8_lossy(&bytes).into_owned(),
            );
        }
    }
    all
}

/// What is planted as a secret, everywhere.
const SECRET: &str = "s3cr3tW0rd";
/// The same where only hexadecimal digits may stand: an IPsec key, and an address that is a secret.
const KEY: &str = "5ec4e75ec4e75ec4e75ec4e75ec4e75ec4e7abcd";
const STABLE: &str = "2001:db8:5ec4:e75e:c4e7:5ec4:e75e:c4e7";

fn plant(lab: &Lab) {
    for line in [
        format!("iptables -w -A INPUT -s 192.0.2.1 -m comment --comment {SECRET} -j ACCEPT"),
        // Documents of netpath's own quote these.
        format!("iptables -w -A FORWARD -s 10.0.1.2 -m comment --comment {SECRET} -j DROP"),
        "nft add table ip kept".to_owned(),
        "nft add chain ip kept forward { type filter hook forward priority 5 ; }".to_owned(),
        format!("nft add rule ip kept forward ip saddr 10.0.2.2 drop comment {SECRET}"),
        format!("ip link set va1 alias {SECRET}"),
        format!("sysctl -qw net.ipv6.conf.va2.stable_secret={STABLE}"),
        format!(
            "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1000 mode tunnel auth sha1 0x{KEY} enc cipher_null 0x00"
        ),
        "nft add table inet kept".to_owned(),
        "nft add chain inet kept own".to_owned(),
        format!("nft add rule inet kept own accept comment {SECRET}"),
    ] {
        if line.contains("xfrm state") {
            // Not every kernel has these ciphers.
            let _refused = lab.inside("A", || {
                let words: Vec<&str> = line.split(' ').collect();
                Command::new(words[0]).args(&words[1..]).output()
            });
            continue;
        }
        lab.run("A", &line);
    }
}

#[test]
fn each_part_is_there_and_no_secret() {
    let lab = Lab::up(TWO_NODES);
    plant(&lab);
    let text = format!("# {SECRET}\n{}\n# the token: {SECRET}\n", lab.text());
    let file = TempFile::new(&text);
    let directory = Directory::new(&lab);
    let archive = directory.at("report.tar.gz");
    let arguments = ["bugreport", "-j", "-f", file.path(), "--to", &archive];
    let mut command = netpath(&arguments);
    let output = command.env("TOKEN", SECRET).output().expect("start");
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    assert!(
        jsonschema::draft202012::is_valid(&schema, &document),
        "{document}"
    );
    let mode = fs::metadata(&archive)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let unpacked = directory.at("unpacked");
    fs::create_dir(&unpacked).expect("a directory");
    run(&format!("tar -xzf {archive} -C {unpacked}"));
    let files = files(Path::new(&unpacked));
    let (node, endpoint) = (lab.name("A"), lab.name("a1"));
    for part in [
        "show",
        "stats",
        "flows",
        "maps",
        "doctor",
        "maps/endpoints_v4",
        "maps/settings",
    ] {
        let text = &files[&format!("{part}.json")];
        let document: Value = serde_json::from_str(text).expect(part);
        assert_eq!(
            document["version"],
            document["version"].as_u64().expect(part),
            "{part}"
        );
    }
    assert!(files["show.json"].contains(&node) && files["maps/settings.json"].contains(&node));
    for word in [
        "netpath ",
        "aya 0.",
        "Linux version ",
        "iptables v",
        "nftables v",
    ] {
        assert!(files["versions.txt"].contains(word), "{word}");
    }
    for (part, word) in [
        ("links", "va1"),
        ("addresses", "100.100.198.250/24"),
        ("routes", "10.0.3.0/24 via 100.100.198.253"),
        ("routes6", "fd00:3::/64 via fd00:198::253"),
        ("rules", "lookup main"),
        ("neighbours", "10.0.1.2"),
        ("tc-qdiscs", "noqueue"),
        ("nft", "table inet kept"),
        ("iptables", "-A INPUT -s 192.0.2.1/32"),
        ("sysctls", "net/ipv4/ip_forward = 1"),
    ] {
        let text = &files[&format!("namespaces/node-{node}/{part}.txt")];
        assert!(text.contains(word), "no {word} in {text}");
    }
    let inside = &files[&format!("namespaces/endpoint-{node}-{endpoint}/routes.txt")];
    assert!(inside.contains("default via 169.254.1.1"), "{inside}");
    assert!(files.contains_key("dmesg.txt") || files.contains_key("dmesg.txt.error"));
    assert!(files.contains_key("namespaces/machine/links.txt"));
    assert!(files["topology.toml"].contains("forward_policy = \"drop\""));
    assert!(files["left-out.txt"].contains("WireGuard"));
    let parts = document["parts"].as_array().expect("a list");
    assert_eq!(parts.len(), files.len());

    // What is quoted is there but for its comment.
    let audit = &files["audit.json"];
    assert!(
        audit.contains("-A FORWARD -s 10.0.1.2/32 -m comment --comment \\\"(left out)\\\""),
        "{audit}"
    );
    assert!(audit.contains("ip saddr 10.0.2.2 drop"), "{audit}");
    for secret in [SECRET, KEY, STABLE, "5ec4e75e"] {
        let has: Vec<&String> = files
            .iter()
            .filter(|(_, text)| text.contains(secret))
            .map(|(name, _)| name)
            .collect();
        assert!(has.is_empty(), "{secret} is in {has:?}");
    }

    // What is there is not overwritten, and a file with mistakes does not go along.
    let before = fs::read(&archive).expect("it is there");
    assert_ends(&run_netpath(&arguments), 2, &["not overwritten"]);
    assert_eq!(fs::read(&archive).expect("it is there"), before);
    let wrong = TempFile::new(&format!("{}\npassword = \"{SECRET}\"\n", lab.text()));
    let other = directory.at("other.tar.gz");
    let output = run_netpath(&["bugreport", "-f", wrong.path(), "--to", &other]);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    let listed = run(&format!("tar -tzf {other}"));
    assert!(
        listed.contains("topology-errors.txt") && !listed.contains("topology.toml"),
        "{listed}"
    );
    let errors = run(&format!(
        "tar -xzOf {other} --wildcards */topology-errors.txt"
    ));
    assert!(
        errors.contains("password") && !errors.contains(SECRET),
        "{errors}"
    );
}

/// Who may not look is told what is missing, and the archive is theirs.
#[test]
fn anybody_may_have_a_report() {
    let lab = Lab::prepare(TWO_NODES);
    let program = BinaryCopy::new();
    let directory = Directory::new(&lab);
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o777)).expect("everybody's");
    let archive = directory.at("report.tar.gz");
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(program.path())
        .args(["bugreport", "--to", &archive])
        .output()
        .expect("start");
    assert_ends(&output, 3, &["show.json is missing: ", "CAP_NET_ADMIN"]);
    let listed = run(&format!("tar -tvzf {archive}"));
    assert!(
        listed.contains("/show.json.error") && listed.contains("/versions.txt"),
        "{listed}"
    );
    let found = fs::metadata(&archive).expect("it is there");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&found), 65534);
}
