//! What fails, is interrupted or killed half-way leaves nothing, or what the same command mends.

use super::*;

#[test]
fn a_failure_half_way_leaves_nothing() {
    let mut lab =
        Lab::prepare(&ONE_NODE.replace("forward_policy", "max_routes = 2\nforward_policy"));
    lab.converge();
    // A row of nobody's takes the place of one that would fit.
    let map = format!("/sys/fs/bpf/netpath/{}/maps/routes_v4", lab.name("A"));
    let key = "key hex 20 00 00 00 0a 63 00 01";
    let value = "00 ".repeat(size_of::<RouteEntry>());
    run(&format!(
        "bpftool map update pinned {map} {key} value hex {value}"
    ));
    let container = lab.foreign_namespace("c1");
    let inside = portrait(&container);
    let before = state(&lab, "A");
    let mut x = text(&lab, "x", &X);
    x.prefixes = vec!["10.9.0.0/28".to_owned(), "10.9.1.0/28".to_owned()];
    let c1 = lab.name("c1");
    for netns in [Some(c1.as_str()), None] {
        let error = provision::add_endpoint(&new(&lab, "A", &x, netns), &mut |_| {});
        let error = error.expect_err("the map of prefixes is full");
        assert!(error.to_string().contains("routes_v4"), "{error}");
        assert!(!matches!(error, ProvisionError::Undo { .. }), "{error}");
        assert_eq!(state(&lab, "A"), before);
        assert_same_portrait(&portrait(&container), &inside, "inside");
        assert!(Netns::named(&lab.name("x")).is_err());
    }
    run(&format!("bpftool map delete pinned {map} {key}"));
    assert_eq!(lab.converge(), Vec::<String>::new());
}

#[test]
fn an_interrupted_one_is_undone_before_and_after_its_steps() {
    let lab = Lab::up(ONE_NODE);
    let before = state(&lab, "A");
    let x = new(&lab, "A", &text(&lab, "x", &X), None);
    // When its last step is done.
    let interrupted: Arc<AtomicBool> = Arc::clone(&x.interrupted);
    let result = provision::add_endpoint(&x, &mut |_| interrupted.store(true, Ordering::Release));
    let error = result.expect_err("interrupted");
    assert!(matches!(error, ProvisionError::Interrupted), "{error}");
    assert_eq!(state(&lab, "A"), before);
    // From the beginning.
    let error = provision::add_endpoint(&x, &mut |change| panic!("{change}"));
    // Perhaps while it waited for another test's.
    let error = error.expect_err("interrupted");
    assert!(error.to_string().starts_with("interrupted"), "{error}");
    assert_eq!(state(&lab, "A"), before);
    assert!(Netns::named(&lab.name("x")).is_err());
}

#[test]
fn killed_at_any_moment_it_can_be_added_again_or_removed() {
    const MOMENTS: u32 = 8;
    let mut lab = Lab::up(ONE_NODE);
    let container = lab.foreign_namespace("c1");
    let inside = portrait(&container);
    let add = "endpoint add @x --node @A --address 10.0.5.2/24 --address fd00:5::2/64 --netns @c1";
    let start = Instant::now();
    let output = command(&lab, add).output().expect("start");
    assert!(output.status.success(), "{output:?}");
    let time = start.elapsed();
    remove(&lab, "x");
    for moment in 0..=MOMENTS {
        let mut child = command(&lab, add).spawn().expect("start");
        thread::sleep(time * moment / MOMENTS);
        child.kill().expect("kill");
        child.wait().expect("wait");
        if moment % 2 == 0 {
            let output = command(&lab, add).output().expect("start");
            assert!(output.status.success(), "{output:?}");
            lab.assert_reaches("c1", addresses("a1")[0], 63);
            lab.assert_reaches("c1", addresses("a1")[1], 63);
            assert_eq!(lab.told("A"), Vec::<&str>::new());
        }
        match try_remove(&lab, "x") {
            Ok(_) | Err(ProvisionError::NotUp { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert_same_portrait(&portrait(&container), &inside, "inside");
        assert_eq!(lab.told("A"), Vec::<&str>::new());
        assert_eq!(lab.converge(), Vec::<String>::new());
    }
}
