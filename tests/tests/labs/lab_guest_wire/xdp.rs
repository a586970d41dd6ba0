//! XDP programs inside an endpoint see what comes to it, wherever they run.

use netpath_tests::{
    connections::forget_connections,
    lab::{Lab, Watch},
    xdp_program::{XdpAnswer, XdpPlace, XdpProgram},
};

use super::{COUNT, TO_A2, accepting_all_of, counted, datagrams, lab, pairs, send, sent_and_seen};

/// A native one is in front of the place where `bpf_redirect_peer` hands packets over; it came after `up`.
#[test]
fn a_native_program_that_drops_has_dropped_it() {
    let lab = lab();
    let netns = lab.netns("a2");
    let mut wire = Watch::new(&lab, [TO_A2]);
    for ends in pairs("a1", "a2") {
        let before = lab.traffic("A");
        assert_eq!(sent_and_seen(&lab, &mut wire, ("a1", ends), 1), COUNT);
        lab.assert_counted("A", &before, &[counted("va1 > va2 redirect_peer")]);

        let dropping = XdpProgram::attach(&netns, "eth0", XdpPlace::Native, XdpAnswer::Drop);
        assert!(lab.told("A").iter().all(|id| *id == "bypassed"));
        let plan = lab.plan();
        assert!(
            !plan.is_empty() && plan.iter().all(|line| line.contains("(xdp)")),
            "{plan:?}"
        );
        assert_eq!(lab.converge(), plan);
        let (before, seen) = (lab.traffic("A"), dropping.seen());
        send(&lab, "a1", ends);
        lab.assert_counted(
            "A",
            &before,
            &[counted("va1 > - punt xdp"), counted("va1 > va2 deliver")],
        );
        assert!(dropping.seen() >= seen + COUNT as u64);
        // It would also drop the frame that ends the round.
        drop(dropping);
        let [packets] = wire.seen();
        assert_eq!(datagrams(&packets, ends, 1), 0, "{packets:?}");

        let passing = XdpProgram::attach(&netns, "eth0", XdpPlace::Native, XdpAnswer::Pass);
        let seen = passing.seen();
        assert_eq!(sent_and_seen(&lab, &mut wire, ("a1", ends), 1), COUNT);
        assert!(passing.seen() >= seen + COUNT as u64);
        drop(passing);

        assert!(!lab.converge().is_empty());
        // What has begun by the kernel stays there; this is as new.
        forget_connections(&lab.name("A"));
        let before = lab.traffic("A");
        assert_eq!(sent_and_seen(&lab, &mut wire, ("a1", ends), 1), COUNT);
        lab.assert_counted("A", &before, &[counted("va1 > va2 redirect_peer")]);
    }
}

/// A generic one is behind that place: nothing has to be punted for it, and it sees everything all the same.
#[test]
fn a_generic_program_sees_what_is_redirected() {
    let lab = lab();
    let netns = lab.netns("a2");
    for ends in pairs("a1", "a2") {
        for (answer, received) in [(XdpAnswer::Drop, 0), (XdpAnswer::Pass, COUNT)] {
            let mut wire = Watch::new(&lab, [TO_A2]);
            let program = XdpProgram::attach(&netns, "eth0", XdpPlace::Generic, answer);
            assert_eq!(lab.plan(), Vec::<String>::new());
            let (before, seen) = (lab.traffic("A"), program.seen());
            send(&lab, "a1", ends);
            lab.assert_counted("A", &before, &[counted("va1 > va2 redirect_peer")]);
            assert!(program.seen() >= seen + COUNT as u64, "{ends:?} {answer:?}");
            drop(program);
            let [packets] = wire.seen();
            assert_eq!(datagrams(&packets, ends, 1), received);
        }
    }
}

/// Who accepts that has it passed by.
#[test]
fn a_native_program_that_is_accepted_is_passed_by() {
    let lab = Lab::up(&accepting_all_of("xdp"));
    let netns = lab.netns("a2");
    for ends in pairs("a1", "a2") {
        let mut wire = Watch::new(&lab, [TO_A2]);
        let dropping = XdpProgram::attach(&netns, "eth0", XdpPlace::Native, XdpAnswer::Drop);
        assert_eq!(lab.plan(), Vec::<String>::new());
        assert_eq!(lab.told("A"), [""; 0]);
        let before = lab.traffic("A");
        send(&lab, "a1", ends);
        lab.assert_counted("A", &before, &[counted("va1 > va2 redirect_peer")]);
        // It would also drop the frame that ends the round.
        drop(dropping);
        let [packets] = wire.seen();
        assert_eq!(datagrams(&packets, ends, 1), COUNT, "{packets:?}");
    }
}
