//! BIRD and FRR as Debian has them: installed, or unpacked by `cargo xtask` under target/.

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::lab::Deadline;

/// A routing daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// BIRD 2.
    Bird,
    /// FRR: zebra and bgpd.
    Frr,
}

impl Daemon {
    /// As its files are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bird => "bird",
            Self::Frr => "frr",
        }
    }
}

/// Where the daemons are, if they are not installed: `NETPATH_ROUTING`, or what `cargo xtask routing` left in the workspace.
fn unpacked() -> PathBuf {
    match env::var_os("NETPATH_ROUTING") {
        Some(path) => path.into(),
        None => {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
            workspace.expect("the workspace").join("target/routing")
        }
    }
}

/// A program of a package.
fn program(directory: &str, name: &str) -> PathBuf {
    let places = [Path::new("/").to_owned(), unpacked()];
    let places = places.map(|root| root.join("usr").join(directory).join(name));
    let found = places.iter().find(|place| place.is_file());
    let told = || panic!("no {name} at {places:?}: run `cargo xtask routing`");
    found.cloned().unwrap_or_else(told)
}

/// In a mount namespace of its own: FRR keeps files below /var/tmp, also after it was killed, and asks for a group that its
/// installation would have made.
const ALONE: &str = "mount -t tmpfs none /var/tmp && cp /etc/group /var/tmp && echo frrvty:x:65533:root >> /var/tmp/group && \
    mount --bind /var/tmp/group /etc/group && exec \"$@\"";

/// A program that finds the libraries of what was unpacked.
fn command(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.args([ALONE, "sh"]).arg(program);
    let libraries = ["usr/lib", "lib"].map(|dir| unpacked().join(dir).join("x86_64-linux-gnu"));
    let path = libraries.iter().cloned().chain([libraries[0].join("frr")]);
    let path = env::join_paths(path).expect("paths without colons");
    command.env("LD_LIBRARY_PATH", path);
    command
}

/// A daemon that runs in the namespace in which it was started. It is killed when it is dropped.
#[derive(Debug)]
pub struct Running {
    kind: Daemon,
    directory: PathBuf,
    processes: Vec<Child>,
}

impl Running {
    /// Starts a daemon in the calling thread's namespace, with its files in a directory of its own.
    pub fn start(kind: Daemon, directory: &Path, config: &str) -> Self {
        fs::create_dir_all(directory).expect("a directory");
        let mut running = Self {
            kind,
            directory: directory.to_owned(),
            processes: Vec::new(),
        };
        running.configure(config);
        match kind {
            Daemon::Bird => {
                let mut bird = command(&program("sbin", "bird"));
                bird.arg("-f").arg("-c").arg(running.config());
                bird.arg("-s").arg(directory.join("bird.ctl"));
                running.spawn(bird, "bird");
            }
            Daemon::Frr => {
                let zebra = running.frr("zebra", Path::new("/dev/null"));
                running.spawn(zebra, "zebra");
                running.await_file("zebra.vty");
                running.await_interfaces();
                let bgpd = running.frr("bgpd", &running.config());
                running.spawn(bgpd, "bgpd");
                running.await_file("bgpd.vty");
            }
        }
        running
    }

    fn config(&self) -> PathBuf {
        self.directory.join("daemon.conf")
    }

    fn frr(&self, name: &str, config: &Path) -> Command {
        let mut frr = command(&program("lib/frr", name));
        frr.args(["-u", "root", "-g", "root", "-P", "0", "--log", "stdout"]);
        frr.arg("-f").arg(config);
        frr.arg("-i")
            .arg(self.directory.join(format!("{name}.pid")));
        frr.arg("-z").arg(self.directory.join("zserv.api"));
        frr.arg("--vty_socket").arg(&self.directory);
        frr
    }

    fn spawn(&mut self, mut command: Command, name: &str) {
        let log = File::create(self.directory.join(format!("{name}.log"))).expect("a log");
        let errors = log.try_clone().expect("a log");
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        self.processes.push(command.spawn().expect(name));
    }

    fn await_file(&mut self, name: &str) {
        let path = self.directory.join(name);
        let deadline = Deadline::within(Duration::from_secs(30));
        while !path.exists() {
            for process in &mut self.processes {
                let ended = process.try_wait().expect("a process");
                assert_eq!(ended, None, "{}", self.told());
            }
            deadline.check(|| format!("no {}: {}", path.display(), self.told()));
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has said.
    pub fn told(&self) -> String {
        let logs = ["bird", "zebra", "bgpd"].map(|name| {
            let log = fs::read_to_string(self.directory.join(format!("{name}.log")));
            log.unwrap_or_default()
        });
        logs.concat()
    }

    /// The routes that it knows.
    pub fn routes(&self) -> String {
        let output = match self.kind {
            Daemon::Bird => {
                let mut birdc = command(&program("sbin", "birdc"));
                birdc.arg("-s").arg(self.directory.join("bird.ctl"));
                birdc.args(["show", "route", "all"]);
                birdc.output().expect("birdc")
            }
            Daemon::Frr => self.vtysh(
                "bgpd",
                &["show bgp ipv4 unicast", "show bgp nexthop"].map(str::to_owned),
            ),
        };
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Writes its configuration, of which it is told nothing.
    fn configure(&self, config: &str) {
        fs::write(self.config(), config).expect("a configuration");
    }

    /// Has it tell others of one prefix more of each family, or less.
    pub fn announce(&self, config: &str, number: u8, is_told: bool) {
        let prefixes = [
            format!("10.20.{number}.0/24"),
            format!("fd20:{number}::/64"),
        ];
        match self.kind {
            Daemon::Bird => {
                let mut config = config.to_owned();
                for (family, prefix) in ["    ipv4;\n", "    ipv6;\n"].iter().zip(&prefixes) {
                    let more = format!("{family}    route {prefix} blackhole;\n");
                    if is_told {
                        config = config.replacen(family, &more, 1);
                    }
                }
                self.configure(&config);
                let [bird] = self.processes.as_slice() else {
                    panic!("{self:?}");
                };
                signal(bird, Signal::SIGHUP);
            }
            Daemon::Frr => {
                let bgp = config.lines().next().expect("router bgp");
                let no = if is_told { "" } else { "no " };
                let mut lines = vec!["configure terminal".to_owned(), bgp.to_owned()];
                for (family, prefix) in ["ipv4", "ipv6"].iter().zip(&prefixes) {
                    lines.push(format!("address-family {family} unicast"));
                    lines.push(format!("{no}network {prefix}"));
                    lines.push("exit-address-family".to_owned());
                }
                self.tell(&lines);
            }
        }
    }

    /// Started before zebra knows the interfaces, bgpd takes link-local next hops for wrong.
    fn await_interfaces(&self) {
        let deadline = Deadline::within(Duration::from_secs(30));
        let has_one = |text: &str| {
            let mut interfaces = text.split("Interface ");
            interfaces.any(|one| {
                (one.starts_with("up0") || one.starts_with("swp1")) && one.contains("inet6 fe80")
            })
        };
        loop {
            let output = self.vtysh("zebra", &["show interface".to_owned()]);
            if has_one(&String::from_utf8_lossy(&output.stdout)) {
                return;
            }
            deadline.check(|| format!("zebra knows no interface: {output:?}"));
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn vtysh(&self, daemon: &str, lines: &[String]) -> Output {
        let settings = self.directory.join("vtysh.conf");
        fs::write(settings, "username root nopassword\n").expect("settings");
        let mut vtysh = command(&program("bin", "vtysh"));
        vtysh.arg("--vty_socket").arg(&self.directory);
        vtysh.arg("--config_dir").arg(&self.directory);
        vtysh.stdin(Stdio::null());
        vtysh.args(["-d", daemon]);
        for line in lines {
            vtysh.arg("-c").arg(line);
        }
        vtysh.output().expect("vtysh")
    }

    /// Has bgpd do something.
    fn tell(&self, lines: &[String]) {
        let output = self.vtysh("bgpd", lines);
        // It says so, and ends well, when it could not.
        let is_done =
            output.status.success() && output.stdout.is_empty() && output.stderr.is_empty();
        assert!(is_done, "{lines:?}: {output:?}");
    }

    /// It dies, without a word to anybody.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        for mut process in self.processes.drain(..) {
            process.kill().expect("a process of ours");
            process.wait().expect("a process of ours");
        }
    }
}

fn signal(process: &Child, signal: Signal) {
    let id = i32::try_from(process.id()).expect("an id");
    kill(Pid::from_raw(id), signal).expect("a process of ours");
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
        // Its files are of no use without it; where a test has failed they say why.
        if !thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        } else {
            eprintln!("{}", self.told());
        }
    }
}

/// Lines for `ip -batch`, paced: so many a second. How many a second there were, until all were done.
pub fn batch(lines: &[String], a_second: usize) -> f64 {
    const TICK: Duration = Duration::from_millis(20);
    let at_once = (a_second / 50).max(1);
    // One process for all: to start one takes longer than its lines.
    let mut ip = Command::new("ip");
    ip.args(["-batch", "-"]).stdin(Stdio::piped());
    let mut ip = ip.stderr(Stdio::piped()).spawn().expect("ip");
    let mut input = ip.stdin.take().expect("it is piped");
    let begun = Instant::now();
    let mut due = begun;
    for chunk in lines.chunks(at_once) {
        let text = chunk.join("\n") + "\n";
        input.write_all(text.as_bytes()).expect("ip -batch reads");
        // What one took longer, the next ones have less to wait.
        due += TICK;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    drop(input);
    let output = ip.wait_with_output().expect("ip");
    assert!(output.status.success(), "{output:?}");
    lines.len() as f64 / begun.elapsed().as_secs_f64()
}
