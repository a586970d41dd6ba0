//! What a node has in the kernel and in directories, none of which may grow as endpoints come and go.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

/// Files of /run/netpath that are the machine's: another test may be at work.
const MACHINES: [&str; 5] = [
    "topology.lock",
    "bpffs.lock",
    "expedite.lock",
    "expedited",
    "trace.lock",
];

/// The node's programs, links and maps, pinned or not, as numbers; its pins, and the lab's namespaces, by name.
pub fn of(lab: &Lab, node: &str) -> String {
    let directory = PathBuf::from(format!("/sys/fs/bpf/netpath/{}", lab.name(node)));
    let map = |name: &str| {
        let path = directory.join("maps").join(name);
        id(
            &listed(&format!("map show pinned {}", path.display())),
            "id",
        )
    };
    let own = ["interfaces", "endpoint_records"].map(map);
    let maps_of = |program: &Value| -> BTreeSet<u64> {
        let ids = program["map_ids"].as_array();
        ids.into_iter()
            .flatten()
            .filter_map(Value::as_u64)
            .collect()
    };
    let all = listed("prog show");
    let programs: Vec<&Value> = (all.as_array().expect("a list").iter())
        .filter(|program| own.iter().any(|map| maps_of(program).contains(map)))
        .collect();
    assert!(!programs.is_empty(), "{own:?}: {all}");
    let ids: BTreeSet<u64> = programs.iter().map(|program| id(program, "id")).collect();
    let maps: BTreeSet<u64> = programs.iter().copied().flat_map(maps_of).collect();

    let mut pins = Vec::new();
    below(&directory, &mut pins);
    pins.sort();
    let mut names = names("/run/netns", |name| name.contains(lab.prefix()));
    names.extend(self::names("/run/netpath", |name| {
        !MACHINES.contains(&name)
    }));
    format!(
        "{} programs, {} links, {} maps\n{pins:#?}\n{names:#?}",
        ids.len(),
        links(&ids),
        maps.len()
    )
}

/// How many links these programs have, after those of interfaces that are gone: the kernel frees them behind whoever lets go.
fn links(programs: &BTreeSet<u64>) -> usize {
    let start = Instant::now();
    loop {
        let all = listed("link show");
        let own: Vec<&Value> = (all.as_array().expect("a list").iter())
            .filter(|link| {
                link["prog_id"]
                    .as_u64()
                    .is_some_and(|it| programs.contains(&it))
            })
            .collect();
        let is_gone = |link: &&Value| link["ifindex"] == 0;
        if !own.iter().any(is_gone) || start.elapsed() > Duration::from_secs(2) {
            return own.len();
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn id(of: &Value, key: &str) -> u64 {
    of[key].as_u64().unwrap_or_else(|| panic!("no {key}: {of}"))
}

fn listed(what: &str) -> Value {
    let text = run(&format!("bpftool -j {what}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{what}: {error}: {text}"))
}

fn below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory of ours") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            below(&path, found);
        }
        found.push(path);
    }
}

/// Names in a directory, which need not be there.
fn names(directory: &str, is_counted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| is_counted(name)).collect()
}
