//! The topology lock: what stands in its place is refused, and waiting for it ends with a signal.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use netpath::lock::{LockError, TopologyLock};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::stat::Mode,
    unistd::mkfifo,
};

const DIRECTORY: &str = "/run/netpath";
const FILE: &str = "/run/netpath/topology.lock";

/// Runs a test with a /run of its own.
fn with_own_run(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).expect("private");
        mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), none).expect("a /run");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn take() -> Result<TopologyLock, LockError> {
    TopologyLock::take(&AtomicBool::new(false))
}

/// Fails unless the lock is refused at once, in these words.
fn assert_refused(words: &str) {
    let begun = Instant::now();
    let error = take().expect_err("a refusal").to_string();
    assert!(error.contains(words), "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn it_leaves_nothing_behind() {
    with_own_run(|| {
        let lock = take().expect("the lock");
        assert!(Path::new(FILE).exists());
        drop(lock);
        assert!(!Path::new(DIRECTORY).exists());
    });
}

#[test]
fn a_fifo_in_its_place_is_refused() {
    with_own_run(|| {
        fs::create_dir(DIRECTORY).expect("a directory");
        mkfifo(FILE, Mode::S_IRWXU).expect("a FIFO");
        // Without a reader, and with one.
        assert_refused("no regular file");
        let reader = fs::OpenOptions::new().read(true).write(true).open(FILE);
        let _reader = reader.expect("the FIFO");
        assert_refused("no regular file");
    });
}

#[test]
fn a_link_in_its_place_is_refused() {
    with_own_run(|| {
        fs::create_dir(DIRECTORY).expect("a directory");
        symlink("/run/nowhere", FILE).expect("a dangling link");
        assert_refused("a symbolic link");
        assert!(!Path::new("/run/nowhere").exists());
        fs::write("/run/nowhere", "").expect("a file");
        assert_refused("a symbolic link");
        fs::remove_dir_all(DIRECTORY).expect("removed");
        symlink("/run", DIRECTORY).expect("a link");
        assert_refused("no directory");
    });
}

#[test]
fn a_directory_in_its_place_is_refused() {
    with_own_run(|| {
        fs::create_dir_all(FILE).expect("a directory");
        assert_refused("a directory");
        fs::remove_dir_all(DIRECTORY).expect("removed");
        fs::write(DIRECTORY, "").expect("a file");
        assert_refused("no directory");
    });
}

#[test]
fn what_others_than_root_may_change_is_refused() {
    with_own_run(|| {
        fs::create_dir(DIRECTORY).expect("a directory");
        fs::write(FILE, "").expect("a file");
        fs::set_permissions(FILE, fs::Permissions::from_mode(0o666)).expect("for all");
        assert_refused("others than root may write it");
        fs::set_permissions(FILE, fs::Permissions::from_mode(0o600)).expect("for root");
        chown(FILE, Some(65_534), None).expect("somebody's");
        assert_refused("root does not own it");
        fs::remove_file(FILE).expect("removed");
        fs::set_permissions(DIRECTORY, fs::Permissions::from_mode(0o777)).expect("for all");
        assert_refused("others than root may write it");
    });
}

/// How many wait for the file's lock, by the lines of /proc/locks with an arrow: whoever is next for its holder, the others for
/// whoever is next.
fn waiting() -> usize {
    let found = fs::metadata(FILE).expect(FILE);
    let (major, minor) = (libc::major(found.dev()), libc::minor(found.dev()));
    let file = format!(" {major:02x}:{minor:02x}:{} ", found.ino());
    let locks = fs::read_to_string("/proc/locks").expect("/proc/locks");
    let lines = locks.lines();
    lines
        .filter(|line| line.contains("->") && line.contains(&file))
        .count()
}

#[test]
fn who_is_next_gets_it_before_who_takes_it_again() {
    const WAITERS: usize = 4;
    const HOLDER: usize = WAITERS;
    with_own_run(|| {
        for _ in 0..20 {
            let turns = Mutex::new(Vec::new());
            let turn = |who: usize| {
                let held = take().expect("its turn");
                turns.lock().expect("turns").push(who);
                drop(held);
            };
            thread::scope(|scope| {
                let turn = &turn;
                let held = take().expect("the lock");
                for waiter in 0..WAITERS {
                    scope.spawn(move || turn(waiter));
                    let deadline = Instant::now() + Duration::from_secs(10);
                    while waiting() <= waiter {
                        assert!(Instant::now() < deadline, "{waiter} does not wait");
                        thread::yield_now();
                    }
                }
                drop(held);
                turn(HOLDER);
            });
            let turns = turns.into_inner().expect("turns");
            // Of the others the kernel may wake one before another, where somebody comes just then.
            assert_eq!((turns[0], turns.len()), (0, WAITERS + 1), "{turns:?}");
            assert!(!Path::new(DIRECTORY).exists(), "the last takes it along");
        }
    });
}

#[test]
fn waiting_ends_with_a_signal() {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    with_own_run(|| {
        let _held = take().expect("the lock");
        let signal = thread::spawn(|| {
            thread::sleep(Duration::from_millis(100));
            INTERRUPTED.store(true, Ordering::Relaxed);
        });
        let begun = Instant::now();
        let error = TopologyLock::take(&INTERRUPTED).expect_err("held");
        assert!(matches!(error, LockError::Interrupted(_)), "{error}");
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(90), "{waited:?}");
        assert!(waited < Duration::from_secs(5), "{waited:?}");
        signal.join().expect("the signal");
    });
}
