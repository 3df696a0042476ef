//! The contract with the service manager: the unit files by systemd's own analyser, the notify
//! protocol and the signals by real child processes.

// Helpers of tests may unwrap: a panic is how a test fails.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crrd::sys::notify::Notify;
use crrd::sys::shutdown::Shutdown;

/// Exposure allowed by `systemd-analyze security`, times ten.
const EXPOSURE_X10_MAX: &str = "15";
/// A child that takes longer than this is broken, even on a busy machine.
const CHILD_TIMEOUT: Duration = Duration::from_secs(60);
/// What the program asks of the kernel, by groups: memory and threads (of these `sched_setaffinity`
/// is `inference.core`), files and the journal's locks, cameras of the kernel, network and the
/// service manager's socket, clocks and signals, and children (`crrd engine bench`, webcams).
const CALLS_NEEDED: &str = "
    mmap munmap mprotect madvise brk futex clone clone3 set_robust_list rseq sched_yield
    sched_getaffinity sched_setaffinity prctl prlimit64 sysinfo getrandom set_tid_address
    openat read write pread64 pwrite64 readv writev lseek close fstat newfstatat statx access geteuid
    fcntl flock fsync fdatasync ftruncate fallocate rename unlink unlinkat mkdir getdents64 readlink statfs
    ioctl poll epoll_create1 epoll_ctl epoll_wait eventfd2 pipe2
    socket connect bind listen accept4 sendto recvfrom sendmsg recvmsg setsockopt getsockopt
    getsockname getpeername shutdown socketpair
    clock_gettime clock_nanosleep nanosleep rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack
    restart_syscall getpid gettid tgkill kill exit exit_group execve wait4 waitid
";
const CHILD_VARIABLE: &str = "CRRD_TEST_CHILD";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `None`, and a line that says so, where systemd is not installed.
fn analyse(arguments: &[&str], unit: &Path) -> Option<(bool, String)> {
    let ran = Command::new("systemd-analyze").args(arguments).arg(unit).output();
    let Ok(output) = ran else {
        println!("skipped: systemd-analyze is not installed");
        return None;
    };
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// The unit with the program that was just built, and with `drop_in` when given.
fn unit_in(dir: &Path, drop_in: Option<&str>) -> PathBuf {
    let systemd = repository().join("systemd");
    let text = std::fs::read_to_string(systemd.join("crrd.service")).unwrap();
    let unit = dir.join("crrd.service");
    let program = env!("CARGO_BIN_EXE_crrd");
    std::fs::write(&unit, text.replace("/usr/bin/crrd", program)).unwrap();
    if let Some(name) = drop_in {
        let folder = dir.join("crrd.service.d");
        std::fs::create_dir(&folder).unwrap();
        std::fs::copy(systemd.join(name), folder.join(name)).unwrap();
    }
    unit
}

#[test]
fn the_unit_is_valid_and_hardened_with_and_without_devices() {
    let drop_ins = ["jetson.conf", "nvidia.conf", "gige.conf", "camera.conf"];
    for drop_in in [None].into_iter().chain(drop_ins.map(Some)) {
        let dir = tempfile::tempdir().unwrap();
        let unit = unit_in(dir.path(), drop_in);
        let Some((valid, said)) = analyse(&["verify", "--man=no"], &unit) else { return };
        assert!(valid, "{said}");
        assert!(!said.contains(&*unit.to_string_lossy()), "verify complains: {said}");
        let threshold = format!("--threshold={EXPOSURE_X10_MAX}");
        let security = ["security", "--offline=true", &threshold];
        let Some((hardened, said)) = analyse(&security, &unit) else { return };
        assert!(hardened, "{drop_in:?}: {said}");
    }
}

#[test]
fn a_softened_unit_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let unit = unit_in(dir.path(), None);
    let text = std::fs::read_to_string(&unit).unwrap();
    let softened = text.replace("ProtectSystem=strict", "").replace("CapabilityBoundingSet=", "");
    std::fs::write(&unit, softened).unwrap();
    let threshold = format!("--threshold={EXPOSURE_X10_MAX}");
    let Some((hardened, said)) = analyse(&["security", "--offline=true", &threshold], &unit) else {
        return;
    };
    assert!(!hardened, "{said}");
}

/// Members of a set of system calls, sets within it resolved; `None` where systemd is not installed.
fn calls_of(set: &str) -> Option<BTreeSet<String>> {
    let (known, said) = analyse(&["syscall-filter"], Path::new(set))?;
    assert!(known, "{set}: {said}");
    let mut calls = BTreeSet::new();
    let words = said.lines().filter(|line| line.starts_with(' ')).map(str::trim);
    for word in words.filter(|word| !word.starts_with('#')) {
        if word.starts_with('@') {
            calls.extend(calls_of(word)?);
        } else {
            calls.insert(word.to_owned());
        }
    }
    Some(calls)
}

/// The system calls that a unit's filter leaves, as systemd reads it: the first line allows, those
/// with `~` take away, later ones give back.
fn calls_left(unit: &str) -> Option<BTreeSet<String>> {
    let mut left = BTreeSet::new();
    for filter in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let (takes, words) = filter.strip_prefix('~').map_or((false, filter), |rest| (true, rest));
        for word in words.split_whitespace() {
            let calls = match word.starts_with('@') {
                true => calls_of(word)?,
                false => BTreeSet::from([word.to_owned()]),
            };
            match takes {
                true => left.retain(|call| !calls.contains(call)),
                false => left.extend(calls),
            }
        }
    }
    Some(left)
}

#[test]
fn the_filter_of_system_calls_leaves_what_the_program_needs_and_no_more_of_what_it_denies() {
    let unit = std::fs::read_to_string(repository().join("systemd/crrd.service")).unwrap();
    let Some(left) = calls_left(&unit) else { return };
    let mut missing: Vec<&str> = CALLS_NEEDED.split_whitespace().collect();
    missing.retain(|call| !left.contains(*call));
    assert!(missing.is_empty(), "the unit denies {missing:?}");
    let denied = ["@privileged", "@resources", "@mount", "@debug", "@module", "@reboot"];
    let denied = denied.into_iter().flat_map(|set| calls_of(set).unwrap());
    // systemd's own sets overlap: only what is given back by name may be left of them.
    let given_back: BTreeSet<String> = denied.filter(|call| left.contains(call)).collect();
    assert_eq!(given_back, BTreeSet::from(["sched_setaffinity".to_owned()]));
}

#[test]
fn the_groups_the_units_name_are_made_by_sysusers() {
    let read = |name: &str| std::fs::read_to_string(repository().join("systemd").join(name));
    let sysusers = read("sysusers.d/crrd.conf").unwrap();
    let made: Vec<_> = sysusers
        .lines()
        .filter(|l| l.starts_with("u ") || l.starts_with("g "))
        .filter_map(|l| l.split_whitespace().nth(1))
        .collect();
    let mut named = 0;
    for file in ["crrd.service", "jetson.conf", "nvidia.conf", "gige.conf", "camera.conf"] {
        for line in read(file).unwrap().lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            if !["User", "Group", "SupplementaryGroups"].contains(&key) {
                continue;
            }
            for group in value.split_whitespace() {
                assert!(made.contains(&group), "{file}: {group} is not in sysusers");
                named += 1;
            }
        }
    }
    assert_eq!(named, 5, "user, group, two GPU groups, one of cameras");
}

/// Runs `test` of this file in a process of its own, where it plays the child.
fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD_VARIABLE, "1");
    command
}

fn is_child() -> bool {
    std::env::var_os(CHILD_VARIABLE).is_some()
}

#[test]
fn the_service_manager_hears_ready_status_watchdog_more_time_and_stopping() {
    if is_child() {
        let notify = Notify::from_env();
        assert_eq!(notify.ping_interval(), Some(Duration::from_secs(5)));
        notify.ready("judging");
        notify.ping();
        notify.status("12 parts");
        notify.extend(Duration::from_secs(60));
        notify.stopping("draining");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(CHILD_TIMEOUT)).unwrap();
    let status = child("the_service_manager_hears_ready_status_watchdog_more_time_and_stopping")
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "10000000")
        .env_remove("WATCHDOG_PID")
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let mut buffer = [0; 1024];
    for expected in [
        "READY=1\nSTATUS=judging\n",
        "WATCHDOG=1\n",
        "STATUS=12 parts\n",
        "EXTEND_TIMEOUT_USEC=60000000\n",
        "STOPPING=1\nSTATUS=draining\n",
    ] {
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(String::from_utf8_lossy(&buffer[..length]), expected);
    }
}

#[test]
fn the_first_signal_asks_and_the_second_ends() {
    if is_child() {
        let shutdown = Shutdown::install().unwrap();
        println!("child: installed");
        assert!(shutdown.wait(CHILD_TIMEOUT), "no signal came");
        assert!(shutdown.is_requested());
        println!("child: asked");
        // Plays a shutdown that hangs: only a second signal can end this.
        std::thread::sleep(CHILD_TIMEOUT);
        return;
    }
    for (name, exit_code) in [("TERM", 143), ("INT", 130)] {
        let mut process = child("the_first_signal_asks_and_the_second_ends")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut until = |line: &str| lines.any(|l| l.unwrap().contains(line));
        assert!(until("child: installed"));
        signal(&process, name);
        assert!(until("child: asked"), "SIG{name} was not served");
        signal(&process, name);
        assert_eq!(wait(&mut process).code(), Some(exit_code));
    }
}

fn signal(process: &Child, name: &str) {
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{name} {}", process.id())])
        .status()
        .unwrap();
    assert!(sent.success());
}

fn wait(process: &mut Child) -> ExitStatus {
    let started = std::time::Instant::now();
    while started.elapsed() < CHILD_TIMEOUT / 2 {
        if let Some(status) = process.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    process.kill().unwrap();
    panic!("the process did not end");
}
