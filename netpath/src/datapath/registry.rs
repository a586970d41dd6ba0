//! The registry of maps against everything that follows from it: the programs' object, the layout that was published,
//! the page of the maps.

use std::{fmt::Write as _, fs, path::PathBuf};

use aya_obj::{
    Object,
    generated::{BPF_CALL, BPF_JMP, bpf_func_id as helper, bpf_map_type as map_type},
};
use netpath_common::{
    ABI_VERSION, Field, HOPS_LEAST, HOPS_MAX,
    tables::{Room, TABLES},
};

use super::{ObjectKind, load, observe};

/// Set to write what is missing of the files that these tests compare.
const WRITE: &str = "NETPATH_WRITE";

fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path)
}

fn fields(fields: &[Field]) -> String {
    fields
        .iter()
        .map(|field| format!(" {}@{}+{}", field.name, field.offset, field.size))
        .collect()
}

/// What each load of the programs has of its own and nobody else reads: not pinned, and no state.
const CACHES: [&str; 8] = [
    "cache_datagrams",
    "cache_tags",
    "cache_told",
    "cache_trace",
    "cache_traced",
    "cache_v4",
    "cache_v6",
    "trail",
];

/// What may not change under one ABI version.
fn layout() -> String {
    let mut text = format!("abi {ABI_VERSION}\n");
    for spec in TABLES {
        writeln!(
            text,
            "{} {} flags {}\n  key {}{}\n  value {}{}",
            spec.name,
            spec.kind.name(),
            spec.flags,
            spec.key_size,
            fields(spec.key_fields),
            spec.value_size,
            fields(spec.value_fields),
        )
        .expect("a string takes it");
    }
    text
}

#[test]
fn a_layout_that_changed_has_a_new_number() {
    let name = format!("netpath-common/abi/v{ABI_VERSION}.txt");
    let path = file(&name);
    if std::env::var_os(WRITE).is_some() && !path.exists() {
        fs::write(&path, layout()).expect("it can be written");
    }
    let published = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{name}: {error}: write it with {WRITE}=1"));
    assert_eq!(
        layout(),
        published,
        "\nthe maps are not as ABI {ABI_VERSION} was published in {name}: raise ABI_VERSION, write a step in \
         datapath/migrate from {ABI_VERSION}, and the new file with {WRITE}=1"
    );
}

#[test]
fn the_programs_declare_the_maps_of_the_registry() {
    for kind in [ObjectKind::Plain, ObjectKind::Logging] {
        let object = Object::parse(load::bytes(kind)).expect("the embedded object");
        // Sections of globals, and the ring buffer of aya-log.
        let mut declared: Vec<&str> = object
            .maps
            .keys()
            .map(String::as_str)
            .filter(|name| !name.starts_with('.') && !name.starts_with("AYA_LOG"))
            .filter(|name| !CACHES.contains(name))
            .collect();
        declared.sort_unstable();
        let names: Vec<&str> = TABLES.iter().map(|spec| spec.name).collect();
        assert_eq!(declared, names);
        for spec in TABLES {
            let map = &object.maps[spec.name];
            let found = (
                map.map_type(),
                map.key_size() as usize,
                map.value_size() as usize,
                map.map_flags(),
            );
            let expected = (spec.kind as u32, spec.key_size, spec.value_size, spec.flags);
            assert_eq!(found, expected, "{} of {kind:?}", spec.name);
            if let Room::Fixed(entries) = spec.room {
                assert_eq!(map.max_entries(), entries, "{} of {kind:?}", spec.name);
            }
        }
    }
}

/// The functions of an object that tell user space something, or whoever reads the kernel's trace.
fn telling(object: &Object) -> Vec<&str> {
    let tells = [
        helper::BPF_FUNC_perf_event_output,
        helper::BPF_FUNC_ringbuf_output,
        helper::BPF_FUNC_ringbuf_reserve,
        helper::BPF_FUNC_ringbuf_reserve_dynptr,
        helper::BPF_FUNC_skb_output,
        helper::BPF_FUNC_trace_printk,
        helper::BPF_FUNC_trace_vprintk,
    ]
    .map(|id| id as i32);
    let functions = object.functions.values().filter(|function| {
        let mut instructions = function.instructions.iter();
        instructions.any(|it| {
            let is_helper = u32::from(it.code) == BPF_JMP | BPF_CALL && it.src_reg() == 0;
            is_helper && tells.contains(&it.imm)
        })
    });
    functions.map(|function| function.name.as_str()).collect()
}

/// Nothing is logged or sent per packet: without `--debug-datapath` there is nothing to send it to, and one function that tells
/// a trace of the packets that it follows.
#[test]
fn only_the_object_for_debugging_logs() {
    let channels = |object: &Object| {
        let kinds = [
            map_type::BPF_MAP_TYPE_PERF_EVENT_ARRAY as u32,
            map_type::BPF_MAP_TYPE_RINGBUF as u32,
        ];
        let maps = object.maps.values();
        maps.filter(|map| kinds.contains(&map.map_type())).count()
    };
    let plain = Object::parse(load::bytes(ObjectKind::Plain)).expect("the embedded object");
    assert_eq!(channels(&plain), 0);
    assert_eq!(telling(&plain), ["trace_tell_all"]);
    let logging = Object::parse(load::bytes(ObjectKind::Logging)).expect("the embedded object");
    assert_eq!(channels(&logging), 1);
    assert!(telling(&logging).len() > 1);
}

#[test]
fn the_observer_has_maps_of_its_own_only() {
    let object = Object::parse(observe::OBSERVER).expect("the embedded object");
    let maps = object.maps.keys().map(String::as_str);
    let mut declared: Vec<&str> = maps.filter(|name| !name.starts_with('.')).collect();
    declared.sort_unstable();
    assert_eq!(declared, ["counts", "filter", "told", "traced", "unknown"]);
}

fn names(fields: &[Field], plain: &str) -> String {
    let names: Vec<&str> = fields
        .iter()
        .map(|field| field.name)
        .filter(|name| !matches!(*name, "padding" | "reserved" | "program"))
        .collect();
    match names.as_slice() {
        [] | ["0"] => plain.to_owned(),
        _ => names.join(", "),
    }
}

fn room(room: Room) -> String {
    match room {
        Room::Fixed(entries) => entries.to_string(),
        Room::Addresses => "`max_endpoints` and 32,768 for the node's own".to_owned(),
        Room::Endpoints => "2 × `max_endpoints`".to_owned(),
        Room::Interfaces => "2 × `max_endpoints` and 1,024 uplinks".to_owned(),
        Room::Hops => {
            format!("16 × `max_endpoints`, from {HOPS_LEAST} to {HOPS_MAX}")
        }
        Room::Routes => "`max_routes`".to_owned(),
        Room::Connections => "`max_connections`".to_owned(),
        Room::RouteRecords => "the file's routes, 16,384 at least".to_owned(),
    }
}

fn page() -> String {
    let mut text = "# The maps of a node\n\n\
        Written by a test from the registry in netpath-common/src/tables.rs; do not edit. Every map is pinned below\n\
        `/sys/fs/bpf/netpath/<node>/maps/`, carries BTF, and is shown by `netpath maps dump NAME`. Layouts byte by byte\n\
        are in netpath-common/abi/.\n\n\
        | map | what is in it | type | key | value | entries | since ABI |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    for spec in TABLES {
        let plain = format!("{} bytes", spec.key_size);
        writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} | {} |",
            spec.name,
            spec.about,
            spec.kind.name(),
            names(spec.key_fields, &plain),
            names(spec.value_fields, &format!("{} bytes", spec.value_size)),
            room(spec.room),
            spec.since
        )
        .expect("a string takes it");
    }
    text
}

#[test]
fn the_page_of_the_maps_is_up_to_date() {
    let path = file("docs/maps.md");
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, page()).expect("it can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(page(), written, "write docs/maps.md with {WRITE}=1");
}
