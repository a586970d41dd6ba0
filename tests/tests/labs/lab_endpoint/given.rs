//! Namespaces that were given: they die, and are given again by another path.

use super::*;

#[test]
fn a_container_that_died_is_told_and_nothing_put_in_its_place() {
    let mut lab = Lab::up(ONE_NODE);
    drop(lab.foreign_namespace("c1"));
    let x = new(&lab, "A", &text(&lab, "x", &X), Some(&lab.name("c1")));
    add(&lab, &x);
    Netns::remove(&lab.name("c1")).expect("remove");
    assert_eq!(lab.told("A"), ["given_namespace_gone"]);
    // Another one takes its name: what the record says is not it.
    let other = lab.foreign_namespace("c1");
    let before = portrait(&other);
    assert_eq!(lab.told("A"), ["given_namespace_gone"]);
    assert_eq!(refused(&x), ["name_taken"]);
    // The rest of the node goes on, also where an `up` is taken back.
    lab.fast_path(false, "A", None);
    lab.fast_path(true, "A", None);
    lab.edit("10.0.2.2/24", "10.0.2.3/24");
    lab.edit("fd00:1::2/64", "fd00:1::3/64");
    let error = lab.converge_until(1).expect_err("interrupted");
    assert!(matches!(error, ProvisionError::Interrupted), "{error}");
    lab.edit("10.0.2.3/24", "10.0.2.2/24");
    lab.edit("fd00:1::3/64", "fd00:1::2/64");
    assert_eq!(lab.converge(), Vec::<String>::new());
    lab.assert_reaches("a1", addresses("a2")[0], 63);
    assert_same_portrait(&portrait(&other), &before, "somebody else's");
    remove(&lab, "x");
    assert_same_portrait(&portrait(&other), &before, "somebody else's");
    assert_eq!(lab.told("A"), Vec::<&str>::new());
}

/// As Docker makes containers that are to have no IPv6, its default.
#[test]
fn a_container_without_ipv6_gets_it_on_its_interface_alone() {
    let mut lab = Lab::up(ONE_NODE);
    let container = lab.foreign_namespace("c1");
    let disabled = |scope: &str| format!("ipv6/conf/{scope}/disable_ipv6");
    for scope in ["all", "default", "lo"] {
        lab.set_sysctl("c1", &disabled(scope), "1");
    }
    let before = portrait(&container);
    let words = "endpoint add @x --node @A --address 10.0.5.2/24 --address fd00:5::2/64 --host-dev vx --netns @c1";
    let output = command(&lab, words).output().expect("start");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(lab.told("A"), Vec::<&str>::new());
    let values = ["all", "default", "lo", "eth0"].map(|scope| {
        let path = format!("/proc/sys/net/{}", disabled(scope));
        let value = lab.inside("c1", || std::fs::read_to_string(path));
        value.expect(scope).trim_end().to_owned()
    });
    assert_eq!(values, ["1", "1", "1", "0"]);
    for (family, own) in X.map(of).into_iter().enumerate() {
        let before = lab.traffic("A");
        lab.assert_reaches("c1", addresses("a1")[family], 63);
        lab.assert_reaches("a2", own, 63);
        let counted = [
            ("vx > va1 redirect_peer", 3, Any),
            ("va1 > vx redirect_peer", 3, Any),
            ("va2 > vx redirect_peer", 3, Any),
            ("vx > va2 redirect_peer", 3, Any),
        ];
        lab.assert_counted("A", &before, &counted);
    }
    remove(&lab, "x");
    assert_same_portrait(&portrait(&container), &before, "after it was removed");
}

/// The process that a namespace was given by ends, and others live in it.
#[test]
fn a_namespace_may_be_given_again_by_another_path() {
    let lab = Lab::up(ONE_NODE);
    let mut first = container();
    let inside = format!("--net=/proc/{}/ns/net", first.0.id());
    let mut nsenter = Command::new("nsenter");
    let second = Living(
        nsenter
            .args([&inside, "sleep", "60"])
            .spawn()
            .expect("nsenter"),
    );
    let by = |child: &Living| {
        new(
            &lab,
            "A",
            &text(&lab, "x", &X),
            Some(&child.0.id().to_string()),
        )
    };
    add(&lab, &by(&first));
    let path = PathBuf::from(format!("/proc/{}/ns/net", second.0.id()));
    let netns = |path: &Path| {
        std::fs::metadata(path)
            .map(|it| it.ino())
            .expect("a namespace")
    };
    let given = netns(&PathBuf::from(format!("/proc/{}/ns/net", first.0.id())));
    let deadline = Deadline::new();
    while netns(&path) != given {
        deadline.check(|| "nsenter does not enter".to_owned());
    }
    first.end();
    let reaches = || {
        for own in X.map(of) {
            lab.assert_reaches("a1", own, 63);
        }
    };
    assert_eq!(lab.told("A"), ["given_namespace_gone"]);
    reaches();
    let before = lab.ip("A", "-o link show dev vx");
    let other = container();
    assert_eq!(refused(&by(&other)), ["name_taken"]);
    let error = provision::add_endpoint(&by(&other), &mut |_| {}).expect_err("a refusal");
    assert!(error.to_string().contains("as another one"), "{error}");
    let changed = add(&lab, &by(&second));
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert_eq!(lab.told("A"), Vec::<&str>::new());
    assert_eq!(add(&lab, &by(&second)), Vec::<String>::new());
    assert_eq!(
        lab.ip("A", "-o link show dev vx"),
        before,
        "it is not made anew"
    );
    reaches();
    remove(&lab, "x");
    let left = Netns::at(&path).expect("open");
    assert!(!portrait(&left).contains("eth0"));
}

/// A process that ends with the test, if not before.
struct Living(Child);

impl Living {
    fn end(&mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        // One that has ended is not killed again.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Its namespace dies with it.
fn container() -> Living {
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--", "sh", "-c", "echo; exec sleep 60"]);
    let mut child = unshare.stdout(Stdio::piped()).spawn().expect("unshare");
    let mut ready = [0];
    let mut output = child.stdout.take().expect("piped");
    output.read_exact(&mut ready).expect("it is there");
    Living(child)
}

#[test]
fn a_container_that_dies_at_any_moment_of_its_add_is_named_and_leaves_nothing() {
    const MOMENTS: u32 = 16;
    /// Whether one is half-way is chance.
    const ROUNDS: u32 = 10;
    let lab = Lab::up(ONE_NODE);
    let before = state(&lab, "A");
    let add = "endpoint add @x --node @A --address 10.0.5.2/24 --address fd00:5::2/64 --netns ";
    let mut living = container();
    let start = Instant::now();
    let output = command(&lab, &format!("{add}{}", living.0.id())).output();
    assert!(output.expect("start").status.success());
    let time = start.elapsed();
    remove(&lab, "x");
    living.end();
    let mut told = 0;
    let mut moments = (0..ROUNDS).flat_map(|_| 0..=MOMENTS);
    while let Some(moment) = moments.next().filter(|&moment| told == 0 || moment != 0) {
        let mut container = container();
        let mut child = command(&lab, &format!("{add}{}", container.0.id()));
        let child = child.stderr(Stdio::piped()).spawn().expect("start");
        thread::sleep(time * moment / MOMENTS);
        container.end();
        let output = child.wait_with_output().expect("wait");
        let text = String::from_utf8_lossy(&output.stderr);
        let path = format!("/proc/{}/ns/net", container.0.id());
        match output.status.code() {
            // It lived long enough.
            Some(0) => {
                remove(&lab, "x");
            }
            Some(1) => {
                told += 1;
                let end = format!(
                    "endpoint {} on {}: the network namespace at {path} went away meanwhile: give one that stays\n",
                    lab.name("x"),
                    lab.name("A")
                );
                assert!(
                    text.ends_with(&end) && text.lines().count() == 1,
                    "{moment}: {text}"
                );
            }
            Some(2) => assert!(
                text.contains(&format!("there is no network namespace at {path}")),
                "{moment}: {text}"
            ),
            _ => panic!("{output:?}"),
        }
        assert_eq!(state(&lab, "A"), before, "{moment}: {text}");
        assert_eq!(lab.told("A"), Vec::<&str>::new(), "{moment}");
    }
    assert!(told > 0, "it never died half-way");
}

#[test]
fn the_namespace_of_a_process_is_taken_by_its_number() {
    let lab = Lab::up(ONE_NODE);
    let mut process = Command::new("unshare")
        .args(["--net", "--", "sleep", "60"])
        .stdin(Stdio::null())
        .spawn()
        .expect("unshare");
    let own = std::fs::read_link("/proc/self/ns/net").expect("ns");
    let path = format!("/proc/{}/ns/net", process.id());
    let moved = (0..1000).any(|_| {
        thread::sleep(Duration::from_millis(5));
        std::fs::read_link(&path).is_ok_and(|it| it != own)
    });
    let words = format!(
        "endpoint add @x --node @A --address 10.0.5.2/24 --address fd00:5::2/64 --netns {}",
        process.id()
    );
    let output = command(&lab, &words).output().expect("start");
    let reaches = moved && output.status.success();
    if reaches {
        for own in X.map(of) {
            lab.assert_reaches("a1", own, 63);
        }
    }
    process.kill().expect("kill");
    process.wait().expect("wait");
    assert!(reaches, "{output:?}");
    remove(&lab, "x");
    assert_eq!(lab.told("A"), Vec::<&str>::new());
}
