use super::*;

#[test]
fn a_namespace_at_a_path_is_that_namespace() {
    let pid = std::process::id();
    let netns = Netns::at(Path::new(&format!("/proc/{pid}/ns/net"))).expect("our own");
    assert_eq!(
        netns.cookie().expect("cookie"),
        Netns::current()
            .and_then(|here| here.cookie())
            .expect("cookie")
    );
}

#[test]
fn what_is_no_network_namespace_is_refused() {
    for path in ["/proc/self/ns/uts", "/proc/self/status"] {
        let error = Netns::at(Path::new(path)).expect_err(path);
        assert!(error.to_string().contains(path), "{error}");
    }
}
