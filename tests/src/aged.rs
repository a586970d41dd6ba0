//! A node's directory as a netpath of an older ABI version would have pinned it, made by bare system calls from
//! netpath-common/abi: the netpath that could make one is not in this code any more.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use netpath::datapath::{Datapath, Maps};
use netpath_common::{
    EndpointRecord, GATE_WORDS, Ifindex, InterfaceEntry, InterfaceState, Mac, PrefixBytes,
    RouteRecord, TrieKey, UplinkRecord,
};

/// An older version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 2.
    Two,
    /// 3.
    Three,
    /// 4.
    Four,
    /// 5.
    Five,
    /// 6.
    Six,
    /// 7.
    Seven,
    /// 8.
    Eight,
}

impl Version {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Two,
        Self::Three,
        Self::Four,
        Self::Five,
        Self::Six,
        Self::Seven,
        Self::Eight,
    ];

    /// Its number.
    pub const fn number(self) -> u32 {
        match self {
            Self::Two => 2,
            Self::Three => 3,
            Self::Four => 4,
            Self::Five => 5,
            Self::Six => 6,
            Self::Seven => 7,
            Self::Eight => 8,
        }
    }

    /// Whether uplinks had a program at their egress.
    pub const fn has_to_uplink(self) -> bool {
        self.number() >= 7
    }

    /// The layouts that were published.
    const fn published(self) -> &'static str {
        match self {
            Self::Two => include_str!("../../netpath-common/abi/v2.txt"),
            Self::Three => include_str!("../../netpath-common/abi/v3.txt"),
            Self::Four => include_str!("../../netpath-common/abi/v4.txt"),
            Self::Five => include_str!("../../netpath-common/abi/v5.txt"),
            Self::Six => include_str!("../../netpath-common/abi/v6.txt"),
            Self::Seven => include_str!("../../netpath-common/abi/v7.txt"),
            Self::Eight => include_str!("../../netpath-common/abi/v8.txt"),
        }
    }
}

/// Commands of `linux/bpf.h`.
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const OBJ_PIN: libc::c_int = 6;
const OBJ_GET: libc::c_int = 7;

/// What is called so in the layouts, by its number in `enum bpf_map_type`.
const KINDS: [(&str, u32); 7] = [
    ("hash", 1),
    ("array", 2),
    ("percpu_hash", 5),
    ("percpu_array", 6),
    ("lru_hash", 9),
    ("lpm_trie", 11),
    ("devmap_hash", 25),
];

/// Puts the directory of a node that is up, whose programs and links stay as they are, into the form of an older version.
pub fn age(datapath: Datapath, version: Version) {
    let directory = datapath.directory().to_owned();
    let node = directory.file_name().expect("a node").to_owned();
    let root = directory.parent().expect("netpath's directory");
    let old = root.join(format!("_aged_{}", node.to_string_lossy()));
    for part in ["maps", "programs", "links"] {
        fs::create_dir_all(old.join(part)).expect("a directory on bpffs");
    }
    for part in ["programs", "links"] {
        for entry in fs::read_dir(directory.join(part)).expect("it is listed") {
            let entry = entry.expect("it is listed");
            let is_new = entry.file_name().as_bytes().starts_with(b"to_uplink");
            if is_new && !version.has_to_uplink() {
                continue;
            }
            let object = get(&entry.path());
            pin(&object, &old.join(part).join(entry.file_name()));
        }
    }
    // The programs are this version's, and count in what older ones had not.
    let counted = ["hop_hits", "hop_rows"];
    for name in counted.iter().filter(|_| version.number() < 8) {
        pin(
            &get(&directory.join("maps").join(name)),
            &old.join("maps").join(name),
        );
    }
    let maps = &datapath.maps;
    for (name, layout) in layouts(version) {
        let pinned = directory.join("maps").join(name);
        let aged = old.join("maps").join(name);
        let Some(entries) = entries(maps, version, name) else {
            pin(&get(&pinned), &aged);
            continue;
        };
        let room = room(maps, version, name);
        let map = create(&layout, room);
        for (key, value) in entries {
            assert_eq!(
                (key.len(), value.len()),
                (layout.key, layout.value),
                "{name}"
            );
            update(&map, &key, &value);
        }
        pin(&map, &aged);
    }
    drop(datapath);
    let retired = root.join(format!("_gone_{}", node.to_string_lossy()));
    fs::rename(&directory, &retired).expect("renamed");
    fs::rename(&old, &directory).expect("renamed");
    fs::remove_dir_all(&retired).expect("unpinned");
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// What a map held; `None` where it is as it is now.
fn entries(maps: &Maps, version: Version, name: &str) -> Option<Entries> {
    let single = |value| vec![(0u32.to_ne_bytes().to_vec(), value)];
    let of_two = version == Version::Two;
    let before_four = matches!(version, Version::Two | Version::Three);
    let from_six = version.number() >= 6;
    let from_five = from_six || version == Version::Five;
    Some(match name {
        "meta" if of_two => single(meta(maps)),
        "meta" => single(identity(maps, version)),
        "settings" => single(settings(maps, version)),
        "features" if before_four => single(
            maps.features
                .get()
                .expect("features")
                .bits
                .to_ne_bytes()
                .to_vec(),
        ),
        "endpoint_records" if of_two => (maps.endpoint_records.all().expect("records").iter())
            .map(|(key, record)| (key.name.to_vec(), endpoint(record)))
            .collect(),
        "uplink_records" if of_two => (maps.uplink_records.all().expect("records").iter())
            .map(|(key, record)| (key.name.to_vec(), uplink(record)))
            .collect(),
        "uplink_records" if !from_five => (maps.uplink_records.all().expect("records").iter())
            .map(|(key, record)| (key.name.to_vec(), positioned(record)))
            .collect(),
        "route_records" if of_two => (maps.route_records.all().expect("records").iter())
            .map(|(key, record)| (prefixes(&[*key]), route(record)))
            .collect(),
        "route_records" if from_six => return None,
        "route_records" => (maps.route_records.all().expect("records").iter())
            .map(|(key, record)| (prefixes(&[*key]), with_origin(record)))
            .collect(),
        "endpoints_v4" | "endpoints_v6" if from_five => return None,
        "endpoints_v4" if !before_four => (maps.endpoints_v4.all().expect("entries").iter())
            .map(|(key, entry)| (key.to_vec(), with_reasons(entry)))
            .collect(),
        "endpoints_v6" if !before_four => (maps.endpoints_v6.all().expect("entries").iter())
            .map(|(key, entry)| (key.to_vec(), with_reasons(entry)))
            .collect(),
        "endpoints_v4" => (maps.endpoints_v4.all().expect("entries").iter())
            .map(|(key, entry)| (key.to_vec(), endpoint_entry(entry)))
            .collect(),
        "endpoints_v6" => (maps.endpoints_v6.all().expect("entries").iter())
            .map(|(key, entry)| (key.to_vec(), endpoint_entry(entry)))
            .collect(),
        "routes_v4" if before_four => (maps.routes_v4.all().expect("entries").iter())
            .map(|(key, entry)| (trie_key(key), endpoint_entry(&entry.endpoint)))
            .collect(),
        "routes_v6" if before_four => (maps.routes_v6.all().expect("entries").iter())
            .map(|(key, entry)| (trie_key(key), endpoint_entry(&entry.endpoint)))
            .collect(),
        "interfaces" if before_four => (maps.interfaces.all().expect("entries").iter())
            .map(|(key, entry)| (key.0.to_ne_bytes().to_vec(), interface(entry)))
            .collect(),
        "ready" => ready(maps),
        "gates" => gates(maps),
        _ => return None,
    })
}

/// Of the size that it had.
fn room(maps: &Maps, version: Version, name: &str) -> u32 {
    let settings = maps.settings.get().expect("settings");
    match (name, version) {
        ("meta" | "settings" | "features", _) => 1,
        ("ready", _) => 16_384,
        ("gates", _) => GATE_WORDS,
        ("uplink_records", _) => 1024,
        ("endpoints_v4" | "endpoints_v6", Version::Two) => settings.max_endpoints,
        ("endpoints_v4" | "endpoints_v6", _) => settings.max_endpoints + 16_384,
        ("routes_v4" | "routes_v6", _) => settings.max_routes,
        _ => 2 * settings.max_endpoints + 1024,
    }
}

fn identity(maps: &Maps, version: Version) -> Vec<u8> {
    let identity = maps.meta.get().expect("identity");
    [
        &version.number().to_ne_bytes()[..],
        &identity.netns_made.to_ne_bytes(),
        &identity.netns_cookie.to_ne_bytes(),
        &identity.name,
        &identity.reserved,
    ]
    .concat()
}

fn settings(maps: &Maps, version: Version) -> Vec<u8> {
    let settings = maps.settings.get().expect("settings");
    let bypass = [settings.bypass.to_ne_bytes(), [0; 4]].concat();
    let netns = [
        &settings.bypass.to_ne_bytes()[..],
        &settings.netns_made.to_ne_bytes(),
        &settings.netns_cookie.to_ne_bytes(),
    ]
    .concat();
    let connections = [&netns[..], &settings.max_connections.to_ne_bytes(), &[0; 4]].concat();
    [
        // Of other programs than this build's.
        &1u64.to_ne_bytes()[..],
        &settings.fast_path.to_ne_bytes(),
        &settings.forward_drop.to_ne_bytes(),
        &settings.configured.to_ne_bytes(),
        &settings.max_endpoints.to_ne_bytes(),
        &settings.max_routes.to_ne_bytes(),
        &settings.max_route_records.to_ne_bytes(),
        match version {
            Version::Two | Version::Three => &[],
            Version::Four => &bypass,
            Version::Five | Version::Six => &netns,
            Version::Seven | Version::Eight => &connections,
        },
    ]
    .concat()
}

fn interface(entry: &InterfaceEntry) -> Vec<u8> {
    [
        &entry.kind.to_ne_bytes()[..],
        &entry.state.to_ne_bytes(),
        &entry.endpoint_id.0.to_ne_bytes(),
        &entry.rp_filter.to_ne_bytes(),
        &entry.name,
        &entry.endpoint,
    ]
    .concat()
}

/// A bit for each interface that is ready.
fn ready(maps: &Maps) -> Entries {
    let mut words = std::collections::BTreeMap::<u32, u64>::new();
    for (Ifindex(index), entry) in maps.interfaces.all().expect("entries") {
        if entry.state == InterfaceState::Ready as u32 {
            *words.entry(index / 64).or_default() |= 1 << (index % 64);
        }
    }
    let words = words.into_iter();
    words
        .map(|(word, bits)| (word.to_ne_bytes().to_vec(), bits.to_ne_bytes().to_vec()))
        .collect()
}

/// The words that are not zero, of an array that was not to be mapped.
fn gates(maps: &Maps) -> Entries {
    let words = maps.gates.set_words().expect("gates").into_iter();
    words
        .map(|(word, bits)| (word.to_ne_bytes().to_vec(), bits.to_ne_bytes().to_vec()))
        .collect()
}

fn trie_key<const N: usize>(key: &TrieKey<N>) -> Vec<u8> {
    [&key.length().to_ne_bytes()[..], &key.address()].concat()
}

#[derive(Clone, Copy)]
struct Layout {
    kind: u32,
    flags: u32,
    key: usize,
    value: usize,
}

fn layouts(version: Version) -> Vec<(&'static str, Layout)> {
    let mut lines = version.published().lines().skip(1);
    let mut layouts = Vec::new();
    while let (Some(head), Some(key), Some(value)) = (lines.next(), lines.next(), lines.next()) {
        let size = |line: &str| {
            let size = line.split_whitespace().nth(1);
            size.and_then(|size| size.parse().ok()).expect("a size")
        };
        let words: Vec<&str> = head.split_whitespace().collect();
        let [name, kind, "flags", flags] = words[..] else {
            panic!("{head}");
        };
        let known = KINDS.iter().find(|(its, _)| *its == kind);
        layouts.push((
            name,
            Layout {
                kind: known.expect(kind).1,
                flags: flags.parse().expect("flags"),
                key: size(key),
                value: size(value),
            },
        ));
    }
    layouts
}

fn meta(maps: &Maps) -> Vec<u8> {
    let identity = maps.meta.get().expect("identity");
    let settings = maps.settings.get().expect("settings");
    let ids = maps.ids.get().expect("ids");
    let features = maps.features.get().expect("features");
    [
        &2u32.to_ne_bytes()[..],
        &ids.next_endpoint_id.0.to_ne_bytes(),
        &identity.netns_cookie.to_ne_bytes(),
        &identity.netns_made.to_ne_bytes(),
        &settings.fast_path.to_ne_bytes(),
        &settings.forward_drop.to_ne_bytes(),
        &settings.configured.to_ne_bytes(),
        &identity.name,
        // Of other programs than this build's.
        &1u64.to_ne_bytes(),
        &features.bits.to_ne_bytes(),
        &[0; 4],
    ]
    .concat()
}

fn endpoint(record: &EndpointRecord) -> Vec<u8> {
    [
        &record.netns_cookie.to_ne_bytes()[..],
        &record.id.0.to_ne_bytes(),
        &record.state.to_ne_bytes(),
        &record.host_ifindex.0.to_ne_bytes(),
        &record.endpoint_mac.0,
        &record.host_mac.0,
        &record.dev,
        &record.host_dev,
        &prefixes(&record.addresses),
        &prefixes(&record.prefixes),
    ]
    .concat()
}

fn uplink(record: &UplinkRecord) -> Vec<u8> {
    [
        &record.wire_cookie.to_ne_bytes()[..],
        &record.state.to_ne_bytes(),
        &record.ifindex.0.to_ne_bytes(),
        &record.made.to_ne_bytes(),
        &record.mac.0,
        &record.port_mac.0,
        &record.wire,
        &prefixes(&record.addresses),
    ]
    .concat()
}

/// As ABI 3 and 4 had it.
fn positioned(record: &UplinkRecord) -> Vec<u8> {
    [
        &uplink(record)[..],
        &record.fast_path.to_ne_bytes(),
        &record.position.to_ne_bytes(),
    ]
    .concat()
}

fn route(record: &RouteRecord) -> Vec<u8> {
    [&prefixes(&[record.via])[..], &record.made.to_ne_bytes()].concat()
}

/// As ABI 3 to 5 had it.
fn with_origin(record: &RouteRecord) -> Vec<u8> {
    [
        &route(record)[..],
        &record.origin.to_ne_bytes(),
        &record.metric.to_ne_bytes(),
    ]
    .concat()
}

fn endpoint_entry(entry: &netpath_common::EndpointEntry) -> Vec<u8> {
    let Mac(endpoint_mac) = entry.endpoint_mac;
    let Mac(host_mac) = entry.host_mac;
    [
        &entry.ifindex.0.to_ne_bytes()[..],
        &entry.id.0.to_ne_bytes(),
        &endpoint_mac,
        &host_mac,
    ]
    .concat()
}

/// As ABI 4 had it.
fn with_reasons(entry: &netpath_common::EndpointEntry) -> Vec<u8> {
    let reasons = [
        entry.punt_to.to_ne_bytes(),
        entry.punt_between.to_ne_bytes(),
    ];
    [endpoint_entry(entry), reasons.concat()].concat()
}

fn prefixes(slots: &[PrefixBytes]) -> Vec<u8> {
    let slot = |it: &PrefixBytes| [&[it.family, it.length, 0, 0], &it.address[..]].concat();
    slots.iter().flat_map(slot).collect()
}

/// Calls bpf(2) with the first words of `union bpf_attr`; the rest is zero.
fn bpf<const N: usize>(command: libc::c_int, words: [u32; N]) -> io::Result<libc::c_int> {
    let mut attribute = [0u32; 32];
    attribute[..N].copy_from_slice(&words);
    // SAFETY: as long as the kernel's union may be read; pointers in it are the callers', and live on.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attribute.as_ptr(),
            size_of_val(&attribute),
        )
    };
    match result {
        ..0 => Err(io::Error::last_os_error()),
        result => Ok(result as libc::c_int),
    }
}

/// The two words of a pointer, as they lie in memory.
fn pointer<T>(value: *const T) -> [u32; 2] {
    let bytes = (value as u64).to_ne_bytes();
    [0, 4].map(|at| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

fn owned(fd: io::Result<libc::c_int>, what: &str) -> OwnedFd {
    let fd = fd.unwrap_or_else(|error| panic!("{what}: {error}"));
    // SAFETY: the kernel has just given out this descriptor, to nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn create(layout: &Layout, entries: u32) -> OwnedFd {
    let words = [
        layout.kind,
        layout.key as u32,
        layout.value as u32,
        entries,
        layout.flags,
    ];
    owned(bpf(MAP_CREATE, words), "a map")
}

fn update(map: &OwnedFd, key: &[u8], value: &[u8]) {
    let [key_low, key_high] = pointer(key.as_ptr());
    let [value_low, value_high] = pointer(value.as_ptr());
    let map = map.as_raw_fd().cast_unsigned();
    let words = [map, 0, key_low, key_high, value_low, value_high, 0, 0];
    bpf(MAP_UPDATE_ELEM, words).expect("an entry");
}

fn path_of(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path")
}

fn get(path: &Path) -> OwnedFd {
    let path = path_of(path);
    let [low, high] = pointer(path.as_ptr());
    owned(bpf(OBJ_GET, [low, high, 0, 0]), "a pinned object")
}

/// Pins a program or a map.
pub(crate) fn pin(object: &OwnedFd, path: &Path) {
    let path = path_of(path);
    let [low, high] = pointer(path.as_ptr());
    let object = object.as_raw_fd().cast_unsigned();
    bpf(OBJ_PIN, [low, high, object, 0]).unwrap_or_else(|error| panic!("{path:?}: {error}"));
}
