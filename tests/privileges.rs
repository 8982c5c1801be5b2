//! What the daemon may still do once it serves: nothing that it does not need. Each thing is tried.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use slabd::sys::confine::{Duty, confine};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

/// Names a deed and who tries it, for [`a_deed_in_a_process_of_its_own`].
const DEED: &str = "SLABD_TEST_DEED";

/// Its name, and how it is done; whether it was.
type Deed = (&'static str, fn() -> bool);

/// What a confined thread might be made to do.
const DEEDS: &[Deed] = &[
    ("work", || {
        // What serving takes: memory, time, threads' locks.
        let memory = vec![1_u8; 64 << 20];
        let begun = std::time::Instant::now();
        std::thread::sleep(std::time::Duration::from_millis(1));
        let total = std::sync::Mutex::new(memory.iter().map(|&byte| usize::from(byte)).sum::<usize>());
        *total.lock().unwrap() == 64 << 20 && begun.elapsed().as_millis() > 0
    }),
    ("read a file", || fs::read("/etc/passwd").is_ok()),
    ("write a file", || fs::write("/dev/null", "x").is_ok()),
    ("remove a file", || fs::remove_file("/nonexistent").is_err_and(|error| error.raw_os_error() == Some(2))),
    ("change a file", || {
        nix::sys::stat::fchmodat(
            nix::fcntl::AT_FDCWD,
            "/nonexistent",
            nix::sys::stat::Mode::empty(),
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )
        .is_ok()
    }),
    ("run a program", || Command::new("/bin/true").status().is_ok()),
    // SAFETY: The child does nothing but end.
    #[expect(unsafe_code, reason = "a fork is a deed")]
    ("fork", || match unsafe { nix::unistd::fork() } {
        Ok(nix::unistd::ForkResult::Child) => std::process::exit(0),
        made => made.is_ok(),
    }),
    ("start a thread", || std::thread::Builder::new().spawn(|| ()).is_ok_and(|thread| thread.join().is_ok())),
    ("reach the network", || UdpSocket::bind("127.0.0.1:0").is_ok()),
    ("reach this host", || UnixDatagram::unbound().is_ok()),
    ("trace", || nix::sys::ptrace::traceme().is_ok()),
    ("signal another", || nix::sys::signal::kill(nix::unistd::Pid::from_raw(1), None).is_ok()),
    ("become another", || nix::unistd::setuid(nix::unistd::getuid()).is_ok()),
    ("see memory become a program", || {
        use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
        let len = std::num::NonZeroUsize::new(4096).unwrap();
        // SAFETY: Nobody uses it.
        #[expect(unsafe_code, reason = "a mapping is a deed")]
        unsafe { mmap_anonymous(None, len, ProtFlags::PROT_READ | ProtFlags::PROT_EXEC, MapFlags::MAP_PRIVATE) }.is_ok()
    }),
    ("mount", || nix::unistd::chroot("/").is_ok()),
];

/// What became of a deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    /// It was told no and lives.
    Refused,
    /// It did not survive the attempt.
    Killed,
}

#[test]
fn confined_threads_can_do_their_duty_and_nothing_else() {
    use End::{Done, Killed, Refused};
    // As a worker, and as those who start, reload and stop.
    let table = [
        ("work", Done, Done),
        ("read a file", Refused, Done),
        ("write a file", Refused, Done),
        ("remove a file", Killed, Done),
        ("change a file", Killed, Killed),
        ("run a program", Killed, Killed),
        ("fork", Killed, Killed),
        ("start a thread", Killed, Done),
        ("reach the network", Killed, Killed),
        ("reach this host", Killed, Done),
        ("trace", Killed, Killed),
        ("signal another", Killed, Killed),
        ("become another", Killed, Killed),
        ("see memory become a program", Killed, Killed),
        ("mount", Killed, Killed),
    ];
    assert_eq!(table.map(|(deed, ..)| deed).to_vec(), DEEDS.iter().map(|(deed, _)| *deed).collect::<Vec<_>>());
    for (deed, serving, process) in table {
        assert_eq!(attempt(deed, "serving"), serving, "{deed}, by a thread that serves");
        assert_eq!(attempt(deed, "process"), process, "{deed}, by one that starts and stops");
    }
    // By who is only watched nothing ends; that it is told is for the kernel's log.
    for deed in ["run a program", "reach the network", "start a thread"] {
        assert_eq!(attempt(deed, "relaxed"), Done, "{deed}, relaxed");
    }
}

fn attempt(deed: &str, duty: &str) -> End {
    let me = std::env::current_exe().unwrap();
    let mut command = Command::new(me);
    command.args(["--exact", "a_deed_in_a_process_of_its_own", "--ignored", "--nocapture", "--test-threads=1"]);
    let output = command.env(DEED, format!("{duty}:{deed}")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.signal() {
        Some(signal) => {
            assert_eq!(signal, libc::SIGSYS, "{duty}: {deed}: {said}");
            End::Killed
        }
        None if said.contains("it is done") => End::Done,
        None => {
            assert!(said.contains("it is refused"), "{duty}: {deed}: {said}");
            End::Refused
        }
    }
}

/// Not a test by itself: the deed of the environment.
#[test]
#[ignore = "is run by another, in a process of its own"]
fn a_deed_in_a_process_of_its_own() {
    let Ok(named) = std::env::var(DEED) else { return };
    let (duty, name) = named.split_once(':').unwrap();
    let (_, deed) = DEEDS.iter().find(|(known, _)| *known == name).unwrap();
    confine(Duty::Process, duty == "relaxed").unwrap();
    if duty != "process" {
        confine(Duty::Serving, duty == "relaxed").unwrap();
    }
    println!("{}", if deed() { "it is done" } else { "it is refused" });
    // Not by way of the harness, which is not confined in what it does.
    std::process::exit(0);
}

/// A daemon that filters, killed at the end.
struct Daemon {
    child: Child,
    addr: SocketAddr,
}

impl Daemon {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slabd"));
        command.args(["-p", "-1", "-l", "127.0.0.1", "-t", "2"]).args(args).stdin(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("listening on")).expect("it starts");
        // Whatever else it says, somebody listens.
        std::thread::spawn(move || lines.for_each(|line| eprintln!("{line}")));
        let addr = line.split("listening on ").nth(1).unwrap().split([',', ';']).next().unwrap().parse().unwrap();
        Self { child, addr }
    }

    /// Lines of every thread's status with this name.
    fn of_threads(&self, name: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap() {
            let folder = entry.unwrap().path();
            let thread = fs::read_to_string(folder.join("comm")).unwrap().trim_end().to_owned();
            let status = fs::read_to_string(folder.join("status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap_or_default();
            found.push((thread, line.trim().to_owned()));
        }
        assert!(found.len() >= 5, "main, acceptor, two workers, maintainer: {found:?}");
        found
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn no_thread_keeps_a_capability_or_can_get_one_whoever_it_runs_as() {
    for args in [&[][..], &["-u", "nobody"], &["-u", "root"]] {
        let daemon = Daemon::start(args);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            for (thread, capabilities) in daemon.of_threads(set) {
                assert_eq!(u64::from_str_radix(&capabilities, 16), Ok(0), "{args:?}: {set} of {thread}");
            }
        }
        assert!(daemon.of_threads("NoNewPrivs").iter().all(|(_, flag)| flag == "1"), "{args:?}");
        if nix::unistd::geteuid().is_root() {
            let bounding = daemon.of_threads("CapBnd");
            assert!(bounding.iter().all(|(_, set)| u64::from_str_radix(set, 16) == Ok(0)), "{args:?}: {bounding:?}");
            let root = args.last() == Some(&"root");
            for (thread, ids) in daemon.of_threads("Uid") {
                assert!(ids.split_whitespace().all(|id| (id == "0") == root), "{args:?}: {thread} is {ids}");
            }
        }
    }
}

#[test]
fn filters_are_on_every_thread_if_wanted_and_on_none_otherwise() {
    for (args, mode) in [("modern", "0"), ("drop_privileges", "2"), ("drop_privileges,no_drop_privileges", "0")] {
        let daemon = Daemon::start(&["-o", args]);
        let modes = daemon.of_threads("Seccomp");
        assert!(modes.iter().all(|(_, said)| said == mode), "{args}: {modes:?}");
    }
}

#[test]
fn a_filtered_daemon_serves_all_it_serves_and_ends_well() {
    let folder = std::env::temp_dir().join(format!("slabd-{}-filtered", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let place = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (socket, pid) = (place("socket"), place("pid"));
    let mut daemon = Daemon::start(&[
        "-o",
        "drop_privileges,idle_timeout=60",
        "-U",
        "-1",
        "-s",
        &socket,
        "-P",
        &pid,
        "--memory-max",
        "100",
        "-k",
        "-vv",
    ]);
    let value = "x".repeat(900_000);
    for i in 0..150 {
        let set = format!("set key{i} 0 100 {}\r\n{value}\r\nquit\r\n", value.len());
        assert_eq!(daemon.ask(&set), "STORED\r\n");
    }
    let got = daemon.ask("get key149 key148 key147\r\nquit\r\n");
    assert!(got.len() > 3 * value.len() && got.ends_with("END\r\n"), "{}", got.len());
    for topic in ["", " settings", " items", " slabs", " conns", " sizes"] {
        let said = daemon.ask(&format!("stats{topic}\r\nquit\r\n"));
        assert!(said.ends_with("\r\n"), "stats{topic}: {said}");
    }
    let administration =
        "cache_memlimit 16\r\nslabs automove 2\r\nlru_crawler crawl all\r\nverbosity 2\r\nflush_all\r\nquit\r\n";
    assert_eq!(daemon.ask(administration), "OK\r\n".repeat(5));
    for _ in 0..20 {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"mn\r\n").unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(700));
    for signal in ["HUP", "TERM"] {
        assert!(Command::new("kill").args(["-s", signal, &daemon.child.id().to_string()]).status().unwrap().success());
    }
    let status = daemon.child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{status:?}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "its files are gone");
    fs::remove_dir(&folder).unwrap();
}
