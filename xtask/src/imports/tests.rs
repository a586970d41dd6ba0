mod circles;
mod page;

use std::path::Path;

use super::{
    faults,
    packets::touched,
    rules::{Package, check, strangers},
    source::read,
};

fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("the workspace")
}

fn faults_of(package: Package, inside: &str, text: &str) -> Vec<String> {
    let file = read(Path::new(inside), text).expect("Rust");
    check(package, inside, &file)
}

#[test]
fn todays_tree_keeps_the_rules() {
    assert_eq!(faults(root()).expect("readable"), Vec::<String>::new());
}

#[test]
fn imports_go_down_only() {
    let library = |inside, text| faults_of(Package::Library, inside, text);
    for (inside, text) in [
        ("reconcile/plan/mod.rs", "use crate::netlink::Netlink;"),
        ("reconcile/plan/mod.rs", "use super::super::netlink;"),
        ("netlink/mod.rs", "fn f() { crate::provision::up(); }"),
        (
            "datapath/mod.rs",
            "use crate::{lock::Lock, provision::{self, up}};",
        ),
        (
            "datapath/maps.rs",
            "macro_rules! m { () => { crate::provision::up() }; }",
        ),
        ("new.rs", "use crate::netns::Netns;"),
        ("model/x.rs", "use crate::descriptors;"),
        ("model/x.rs", "use crate::DescriptorsError;"),
        ("doctor/x.rs", "use crate::stranger::Thing;"),
        ("doctor/x.rs", "use crate::Stranger;"),
    ] {
        assert_eq!(
            library(inside, text).len(),
            1 + usize::from(text.contains("self, up")),
            "{text}"
        );
    }
    for (inside, text) in [
        (
            "provision/up.rs",
            "use crate::{Ends, reconcile::{self, Plan}};",
        ),
        (
            "reconcile/plan/mod.rs",
            "use super::{Op, super::model};\nuse crate::model::Name;",
        ),
        (
            "netlink/mod.rs",
            "#[cfg(test)] mod t { use crate::provision; }",
        ),
        ("lib.rs", "pub use crate::provision;"),
    ] {
        assert_eq!(library(inside, text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn crates_io_and_prints_have_their_places() {
    for (inside, text) in [
        ("provision/up.rs", "use aya::Ebpf;"),
        ("probe/mod.rs", "fn f() { netlink_sys::Socket::new(0); }"),
        ("reconcile/mod.rs", "use std::fs;"),
        ("model/mod.rs", "fn f() { std::env::args(); }"),
        ("reconcile/x.rs", "use nix::unistd::gettid;"),
        ("audit/x.rs", "fn f() { unsafe { libc::getpid() }; }"),
        ("hash.rs", "use tokio::time::sleep;"),
        ("finding.rs", "use aya::Ebpf;"),
        (
            "model/x.rs",
            "use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};",
        ),
        (
            "model/x.rs",
            "fn f() { std::net::TcpStream::connect(\"[::1]:1\"); }",
        ),
        ("random.rs", "use std::net::{self, TcpListener as _};"),
        ("counters/mod.rs", "fn f() { println!(\"x\"); }"),
        ("counters/mod.rs", "use anyhow::Result;"),
    ] {
        let found = faults_of(Package::Library, inside, text);
        let count = 1 + usize::from(text.contains("self, "));
        assert_eq!(found.len(), count, "{text}: {found:?}");
        assert!(found[0].starts_with(&format!("{inside}:1: ")), "{found:?}");
    }
    assert_eq!(
        faults_of(Package::Library, "datapath/mod.rs", "use aya::Ebpf;"),
        [""; 0]
    );
    assert_eq!(
        faults_of(Package::Bench, "run.rs", "fn f() { eprintln!(); }").len(),
        1
    );
    assert_eq!(
        faults_of(Package::Command, "up.rs", "fn f() { eprintln!(); }"),
        [""; 0]
    );
}

#[test]
fn every_module_has_a_row_and_every_row_a_module() {
    let mut modules = super::modules(&root().join("netpath/src")).expect("readable");
    assert_eq!(strangers(&modules), [""; 0]);
    modules.push("stranger".to_owned());
    modules.retain(|module| module != "netns");
    let told = strangers(&modules);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("module stranger is not in the table"));
    assert!(told[1].ends_with("there is no module netns"));
}

#[test]
fn packets_are_touched_in_one_place() {
    for text in [
        "use aya_ebpf::helpers::generated::bpf_skb_load_bytes;",
        "fn f(ctx: &TcContext) { let start = ctx.data(); }",
        "fn f(ctx: &TcContext) -> bool { ctx.data_end() > 14 }",
        "once! { fn f(skb: &Skb) { unsafe { (*skb.raw()).data }; } }",
        "fn f(ctx: &TcContext) { ctx.load(12); }",
        "fn f(ctx: &TcContext) { ctx.load::<u16>(12); }",
        "fn f(ctx: &mut TcContext) { ctx.store(12, &0u8, 0); }",
        "fn f(ctx: *mut __sk_buff) {}",
        "fn f(at: u64) { unsafe { bpf_probe_read_kernel(to, 1, at) }; }",
        "fn f(ctx: &TcContext) { ctx.skb.pull; }",
    ] {
        assert_eq!(touched(text).expect("Rust").len(), 1, "{text}");
    }
    for text in [
        "fn f() -> u32 { FIB_FLAGS.load() }",
        "fn f(data: u32) -> u32 { data + skb.length() }",
        "// bpf_skb_load_bytes",
    ] {
        assert_eq!(touched(text).expect("Rust"), [], "{text}");
    }
}
