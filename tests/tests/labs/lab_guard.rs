//! A topology that is gone when dropped, whatever the reason.

use std::panic::{self, AssertUnwindSafe};

use netpath::{
    lab::Lab,
    provision::{Object, ProvisionError, UpOptions},
};
use netpath_tests::lab::{self, TWO_NODES};

#[test]
fn it_is_gone_when_dropped() {
    let names = lab::Lab::prepare(TWO_NODES);
    let options = UpOptions::default();
    let up = || Lab::up(names.topology(), &options, &mut |_| {}).expect("up");
    let guard = up();
    assert_eq!(guard.nodes(), names.nodes());
    assert!(!names.leftovers().is_empty());
    drop(guard);
    names.assert_nothing_left();

    let mut guard = up();
    guard.remove().expect("removed");
    names.assert_nothing_left();
    assert_eq!(guard.nodes(), [] as [String; 0]);

    up().keep();
    assert_eq!(names.plan(), Vec::<String>::new(), "it stays");
}

#[test]
fn it_is_gone_after_a_panic() {
    let names = lab::Lab::prepare(TWO_NODES);
    let panicked = panic::catch_unwind(AssertUnwindSafe(|| {
        let _lab = Lab::up(names.topology(), &UpOptions::default(), &mut |change| {
            assert_ne!(change.object, Object::Endpoint, "half-way, on purpose");
        });
    }));
    panicked.expect_err("it panics");
    names.assert_nothing_left();
}

#[test]
fn what_somebody_else_has_brought_up_stays() {
    let theirs = lab::Lab::up(TWO_NODES);
    let options = UpOptions::default();
    let ours = Lab::up(theirs.topology(), &options, &mut |_| {}).expect("nothing to do");
    drop(ours);
    assert_eq!(theirs.plan(), Vec::<String>::new());

    // Nor is anything left of one that is undone.
    let interrupted = UpOptions::default();
    let names = lab::Lab::prepare(TWO_NODES);
    let result = Lab::up(names.topology(), &interrupted, &mut |_| {
        let stop = &interrupted.interrupted;
        stop.store(true, std::sync::atomic::Ordering::Release);
    });
    assert!(
        matches!(result, Err(ProvisionError::Interrupted)),
        "{result:?}"
    );
    names.assert_nothing_left();
}
