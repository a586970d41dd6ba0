//! The list of damages, made from what is there: pins, links, filters, maps with their rows and fields.

mod forgery;
mod rows;

use std::{fs, path::PathBuf, rc::Rc};

use aya::programs::{
    SchedClassifier,
    links::{FdLink, PinnedLink},
};
use netpath::datapath::map_names;
use netpath_common::{Gate, Ifindex, tables::TABLES};
use netpath_tests::lab::Lab;

pub use forgery::{Forgery, Sender, assert_honest, that_get_through};
pub use rows::rows;

/// How a damage ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// `up` mends it.
    Mended,
    /// `up` refuses, and says what to do.
    Refused,
    /// It is a wish, and `up` does as it says; the test takes it back.
    Wish,
    /// Nobody can tell, for this reason; the test takes it back.
    Unseen(&'static str),
}

/// What takes a damage back where nothing else does.
pub type Undo = Box<dyn Fn(&Lab)>;

/// One damage.
#[derive(Clone)]
pub struct Damage {
    /// What is done.
    pub name: String,
    /// Does it to node A.
    pub act: Rc<dyn Fn(&Lab) -> Undo>,
    /// How it ends.
    pub end: End,
    /// Whose packets nobody checks then: the program that does is gone, or another's.
    pub unchecked: &'static [Sender],
    /// What else gets through until `up` has mended it, and surely does.
    pub remains: Vec<Forgery>,
}

impl Damage {
    fn new(name: String, act: impl Fn(&Lab) + 'static) -> Self {
        Self {
            name,
            act: Rc::new(move |lab| {
                act(lab);
                Box::new(|_| {})
            }),
            end: End::Mended,
            unchecked: &[],
            remains: Vec::new(),
        }
    }
}

fn directory(lab: &Lab, node: &str) -> PathBuf {
    lab.datapath(node).directory().to_owned()
}

/// Whose packets are checked at this place of a program alone.
fn unchecked_without(place: &str) -> &'static [Sender] {
    match place {
        "from_endpoint@va1" => &[Sender::Endpoint],
        "from_uplink@up0" => &[Sender::Wire],
        _ => &[],
    }
}

fn names(lab: &Lab, part: &str) -> Vec<String> {
    let entries = fs::read_dir(directory(lab, "A").join(part)).expect("pins");
    let names = entries.map(|entry| entry.expect("a pin").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.into_string().expect("text"))
        .collect();
    names.sort();
    names
}

/// Every pin of a map: removed, and another map in its place.
pub fn map_pins(lab: &Lab) -> Vec<Damage> {
    let mut damages = Vec::new();
    let (own, others) = (directory(lab, "A"), directory(lab, "B"));
    for map in map_names() {
        let pin = own.join("maps").join(map);
        let path = pin.clone();
        damages.push(Damage::new(format!("rm maps/{map}"), move |_| {
            fs::remove_file(&path).expect("unpin");
        }));
        // One of the same layout: nothing but what the programs hold tells.
        damages.push(Damage::new(format!("another map {map}"), move |lab| {
            fs::remove_file(&pin).expect("unpin");
            let spec = TABLES.iter().find(|spec| spec.name == map).expect("one");
            let datapath = lab.datapath("B");
            let info = netpath::datapath::Maps::info(datapath.name(), map).expect("pinned");
            let line = format!(
                "bpftool map create {} type {} key {} value {} entries {} name {} flags {}",
                pin.display(),
                spec.kind.name(),
                spec.key_size,
                spec.value_size,
                info.max_entries,
                &map[..map.len().min(15)],
                spec.flags
            );
            lab.run("A", &line);
        }));
        let (pin, other) = (own.join("maps").join(map), others.join("maps").join(map));
        damages.push(Damage::new(
            format!("the other node's map {map}"),
            move |lab| {
                fs::remove_file(&pin).expect("unpin");
                pin_map(lab, &other, &pin);
            },
        ));
    }
    damages
}

/// Every pin of a program: removed, and another program in its place.
pub fn program_pins(lab: &Lab) -> Vec<Damage> {
    let mut damages = Vec::new();
    let (own, others) = (directory(lab, "A"), directory(lab, "B"));
    let programs = names(lab, "programs");
    for program in &programs {
        let pin = own.join("programs").join(program);
        let path = pin.clone();
        damages.push(Damage::new(format!("rm programs/{program}"), move |_| {
            fs::remove_file(&path).expect("unpin");
        }));
        let sources = programs
            .iter()
            .map(|other| (own.join("programs").join(other), "its own"));
        let sources = sources.filter(|(path, _)| *path != pin);
        let sources = sources.chain([(others.join("programs").join(program), "the other node's")]);
        for (source, whose) in sources {
            let pin = pin.clone();
            let other = source
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let name = format!("{whose} program {other} as {program}");
            damages.push(Damage::new(name, move |_| {
                fs::remove_file(&pin).expect("unpin");
                let other = SchedClassifier::from_pin(&source).expect("pinned");
                let mut other = other;
                other.pin(&pin).expect("pin");
            }));
        }
    }
    damages
}

fn pin_map(lab: &Lab, from: &std::path::Path, to: &std::path::Path) {
    let text = lab.run(
        "A",
        &format!("bpftool -j map show pinned {}", from.display()),
    );
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    lab.run(
        "A",
        &format!("bpftool map pin id {} {}", json["id"], to.display()),
    );
}

/// Every link: unpinned, detached, led elsewhere, running another program; and one too many.
pub fn links(lab: &Lab) -> Vec<Damage> {
    let mut damages = Vec::new();
    let own = directory(lab, "A");
    let pins = names(lab, "links");
    for pin in &pins {
        let path = own.join("links").join(pin);
        let unchecked = unchecked_without(pin);
        let mut add = |what: &str, act: Box<dyn Fn(&Lab)>| {
            damages.push(Damage {
                unchecked,
                ..Damage::new(format!("{what} links/{pin}"), act)
            });
        };
        let at = path.clone();
        add(
            "rm",
            Box::new(move |_| fs::remove_file(&at).expect("unpin")),
        );
        let at = path.clone();
        add(
            "detach",
            Box::new(move |lab| {
                lab.run("A", &format!("bpftool link detach pinned {}", at.display()));
            }),
        );
        for other in pins.iter().filter(|other| *other != pin) {
            let (at, other_path) = (path.clone(), own.join("links").join(other));
            add(
                &format!("the link {other} as"),
                Box::new(move |_| {
                    let link = PinnedLink::from_pin(&other_path).expect("pinned");
                    fs::remove_file(&at).expect("unpin");
                    drop(FdLink::from(link).pin(&at).expect("pin"));
                }),
            );
        }
        for program in names(lab, "programs") {
            if pin.starts_with(&format!("{program}@")) {
                continue;
            }
            let (at, program_path) = (path.clone(), own.join("programs").join(&program));
            add(
                &format!("{program} in"),
                Box::new(move |_| {
                    let link = FdLink::from(PinnedLink::from_pin(&at).expect("pinned"));
                    let mut program = SchedClassifier::from_pin(&program_path).expect("pinned");
                    let link = link.try_into().expect("a TCX link");
                    program.attach_to_link(link).expect("updated");
                }),
            );
        }
    }
    let first = own.join("links").join(&pins[0]);
    let surplus = own.join("links/from_endpoint@nobody");
    damages.push(Damage::new("a pin too many".to_owned(), move |_| {
        let link = FdLink::from(PinnedLink::from_pin(&first).expect("pinned"));
        drop(link.pin(&surplus).expect("pin"));
    }));
    for part in ["links", "programs", "maps"] {
        let path = own.join(part);
        damages.push(Damage {
            unchecked: match part {
                "links" => &[Sender::Endpoint, Sender::Wire],
                _ => &[],
            },
            ..Damage::new(format!("rm -r {part}"), move |_| {
                fs::remove_dir_all(&path).expect("removed");
            })
        });
    }
    damages
}

/// Every filter of a clsact qdisc: removed, and another program in it; and the qdiscs.
pub fn filters(lab: &Lab) -> Vec<Damage> {
    let mut damages = Vec::new();
    let own = directory(lab, "A");
    for (dev, hook, program) in [
        ("va1", "ingress", "from_endpoint"),
        ("va1", "egress", "to_endpoint"),
        ("va2", "ingress", "from_endpoint"),
        ("va2", "egress", "to_endpoint"),
        ("up0", "ingress", "from_uplink"),
    ] {
        let unchecked = unchecked_without(&format!("{program}@{dev}"));
        damages.push(Damage {
            unchecked,
            ..Damage::new(format!("tc filter del dev {dev} {hook}"), move |lab| {
                lab.run("A", &format!("tc filter del dev {dev} {hook}"));
            })
        });
        for other in names(lab, "programs")
            .into_iter()
            .filter(|it| it != program)
        {
            let path = own.join("programs").join(&other);
            let name = format!("{other} in the filter of {program} on {dev}");
            damages.push(Damage {
                unchecked,
                ..Damage::new(name, move |lab| {
                    let line = format!(
                        "tc filter replace dev {dev} {hook} pref 28272 handle 1 bpf direct-action object-pinned {}",
                        path.display()
                    );
                    lab.run("A", &line);
                })
            });
        }
        if hook == "ingress" {
            damages.push(Damage {
                unchecked,
                ..Damage::new(format!("tc qdisc del dev {dev} clsact"), move |lab| {
                    lab.run("A", &format!("tc qdisc del dev {dev} clsact"));
                })
            });
        }
    }
    damages
}

/// Bits of the gates: of interfaces that the programs are on, and of one that they are not.
pub fn gates(lab: &Lab) -> Vec<Damage> {
    let known = lab.datapath("A").maps.interfaces.all().expect("interfaces");
    let mut damages = Vec::new();
    // Nothing has these: no interface of the lab, and none at all.
    let strange = [Ifindex(1_000), Ifindex(0)];
    for ifindex in known.into_keys().chain(strange) {
        for bit in [
            Gate::READY,
            Gate::UPLINK,
            Gate::PUNT_INGRESS,
            Gate::PUNT_EGRESS,
            128,
        ] {
            let name = format!("bit {bit} of the gate of {}", ifindex.0);
            damages.push(Damage::new(name, move |lab| flip_gate(lab, ifindex, bit)));
        }
    }
    damages
}

fn flip_gate(lab: &Lab, ifindex: Ifindex, bit: u8) {
    let datapath = lab.datapath("A");
    let index = netpath_common::gate_word(ifindex).expect("low");
    let word = datapath
        .maps
        .gates
        .get(&index)
        .expect("read")
        .unwrap_or_default();
    let gate = Gate(word.gate(ifindex).0 ^ bit);
    rows::write(
        lab,
        "gates",
        &index.to_ne_bytes(),
        &word.with(ifindex, gate).bits.to_ne_bytes(),
    );
}
