//! The daemon as a service: what it tells a service manager, what it takes over from one, and its life in the background. The manager is
//! played by this test: a socket for notices, and descriptors that are inherited.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SLABD: &str = env!("CARGO_BIN_EXE_slabd");

/// Long enough for a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A folder that every user may write to; gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("slabd-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A child that does not outlive its test.
struct Service(Child);

impl Service {
    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success());
}

/// The service manager's ear.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _folder: Folder,
}

impl Manager {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let path = folder.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        Self { socket, path, _folder: folder }
    }

    fn start(&self, watchdog: Option<Duration>, args: &[&str]) -> Service {
        let mut command = Command::new(SLABD);
        command.args(["-p", "-1", "-l", "127.0.0.1", "-t", "2"]).args(args).env("NOTIFY_SOCKET", &self.path);
        command.stdin(Stdio::null()).stderr(Stdio::null()).env_remove("WATCHDOG_PID").env_remove("WATCHDOG_USEC");
        if let Some(timeout) = watchdog {
            command.env("WATCHDOG_USEC", timeout.as_micros().to_string());
        }
        Service(command.spawn().unwrap())
    }

    /// The next notice, if one comes in time.
    fn hear(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut bytes = [0; 4096];
        self.socket.recv(&mut bytes).ok().map(|len| String::from_utf8(bytes[..len].to_vec()).unwrap())
    }

    fn hear_ready(&self) -> SocketAddr {
        let said = self.hear(PATIENCE).expect("the daemon says that it is ready");
        assert!(said.starts_with("READY=1\nSTATUS=slabd "), "{said}");
        said.split("listening on ").nth(1).unwrap().split([',', ';']).next().unwrap().parse().unwrap()
    }
}

fn ask(mut stream: impl Read + Write, request: &str, answer: &str) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = vec![0; answer.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), answer);
}

#[test]
fn the_manager_hears_ready_reloading_ready_and_stopping() {
    let manager = Manager::new("notices");
    for args in [&[][..], &["-o", "drop_privileges"]] {
        let mut service = manager.start(None, args);
        ask(TcpStream::connect(manager.hear_ready()).unwrap(), "get x\r\n", "END\r\n");
        service.signal("HUP");
        let said = manager.hear(PATIENCE).unwrap();
        let at: u64 = said.trim_end().strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(at > 0, "a time since the host started");
        manager.hear_ready();
        service.signal("TERM");
        assert_eq!(manager.hear(PATIENCE).unwrap().trim_end(), "STOPPING=1\nSTATUS=stopping");
        assert_eq!(service.exit_code(), Some(0));
        assert_eq!(manager.hear(Duration::from_millis(1)), None, "without a watchdog nothing else is said");
    }
}

#[test]
fn the_watchdog_is_fed_while_all_threads_turn_and_is_not_while_one_hangs() {
    let manager = Manager::new("watchdog");
    let timeout = Duration::from_secs(2);
    let service = manager.start(Some(timeout), &[]);
    manager.hear_ready();
    let fed = |times| {
        for _ in 0..times {
            assert_eq!(manager.hear(timeout).expect("a sign of life").trim_end(), "WATCHDOG=1");
        }
    };
    fed(6);
    for name in ["slabd-work-1", "slabd-maintain", "slabd-accept"] {
        let Some(thread) = thread(service.pid(), name) else { panic!("no thread {name}") };
        // A debugger's hold: this thread stops, the others do not notice.
        if let Err(error) = ptrace::seize(thread, ptrace::Options::empty()) {
            eprintln!("this system does not let a thread be held: {error}");
            assert!(std::env::var_os("SLABD_REQUIRE_SYSTEMD").is_none(), "the watchdog is not tried");
            return;
        }
        ptrace::interrupt(thread).unwrap();
        waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        let held = Instant::now();
        let mut last = held;
        while let Some(said) = manager.hear(timeout) {
            assert_eq!(said.trim_end(), "WATCHDOG=1");
            last = Instant::now();
            assert!(last - held < timeout, "it is said that all is well while {name} hangs");
        }
        assert!(last - held < timeout);
        ptrace::detach(thread, None).unwrap();
        fed(3);
    }
}

/// The thread of this name.
fn thread(pid: u32, name: &str) -> Option<Pid> {
    for entry in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let entry = entry.unwrap();
        if fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
            return Some(Pid::from_raw(entry.file_name().to_str().unwrap().parse().unwrap()));
        }
    }
    None
}

#[test]
fn a_worker_that_waits_for_a_lock_is_seen_to_hang_and_to_come_back() {
    use slabd::clock::Clock;
    use slabd::settings::{ProcessSettings, Settings};
    let timeout = Duration::from_millis(800);
    let process = ProcessSettings { watchdog: Some(timeout), ..ProcessSettings::default() };
    let settings =
        Settings { listen: vec!["127.0.0.1:0".parse().unwrap()], threads: 1, process, ..Settings::default() };
    let mut running = slabd::server::start(settings, Clock::system()).unwrap();
    let mut monitor = running.take_monitor().expect("there is a watchdog");
    assert!(running.take_monitor().is_none());
    let deadline = Instant::now() + 3 * timeout;
    while Instant::now() < deadline {
        assert_eq!(monitor.stalled(Instant::now()), None, "idle is not stalled");
        std::thread::sleep(monitor.every());
    }
    let mut stream = TcpStream::connect(running.local_addrs()[0]).unwrap();
    ask(&mut stream, "set a 0 0 1\r\n1\r\n", "STORED\r\n");
    let daemon = running.daemon();
    let (store, mut local) = (&daemon.store, daemon.store.local(daemon.stats.register()));
    store.get(&mut local, (store.hash(b"a"), b"a"), daemon.clock.now(), None, |view| {
        // The bucket's lock is ours as long as we look.
        assert!(view.is_some());
        stream.write_all(b"get a\r\n").unwrap();
        wait_for("the worker is seen to hang", || monitor.stalled(Instant::now()) == Some("slabd-work-0"));
    });
    let mut answer = [0; 18];
    stream.read_exact(&mut answer).unwrap();
    wait_for("and to come back", || monitor.stalled(Instant::now()).is_none());
}

/// Starts a daemon with these as descriptors from 3 on, meant for it. A shell puts them there.
fn inherit(listeners: Vec<OwnedFd>, log: &Path, args: &[&str]) -> Service {
    use std::os::fd::AsRawFd;
    // Kept below what the shell uses for itself, and away from the places they go to.
    let moves: String =
        listeners.iter().enumerate().map(|(i, fd)| format!("exec {}<&{}; ", i + 3, fd.as_raw_fd())).collect();
    for fd in &listeners {
        assert!(fd.as_raw_fd() >= 3 + i32::try_from(listeners.len()).unwrap(), "in the way");
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    }
    let script = format!("{moves} LISTEN_PID=$$ LISTEN_FDS={} exec \"$@\"", listeners.len());
    let mut command = Command::new("bash");
    command.args(["-c", &script, "slabd", SLABD]).args(args).stdin(Stdio::null());
    command.stderr(fs::File::create(log).unwrap());
    Service(command.spawn().unwrap())
}

/// Makes it one of a high number, which is not in the way.
fn high(fd: impl Into<OwnedFd>) -> OwnedFd {
    use std::os::fd::FromRawFd;
    let fd = fd.into();
    let raw = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(200)).unwrap();
    // SAFETY: The system has just made it, for nobody else.
    #[expect(unsafe_code, reason = "a number becomes a descriptor")]
    unsafe {
        OwnedFd::from_raw_fd(raw)
    }
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !there() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn inherited_listeners_are_served_and_nothing_else_is_bound() {
    let folder = Folder::new("inherit");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = tcp.local_addr().unwrap();
    let path = folder.path("socket");
    let unix = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    // Whoever comes before there is a daemon waits for it.
    let early = TcpStream::connect(addr).unwrap();
    // A port that is taken: were it bound, that would be an error.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let log = folder.path("log");
    let own = folder.path("own");
    let args = ["-l", &taken, "-s", own.to_str().unwrap(), "-o", "drop_privileges"];
    let mut service = inherit(vec![high(tcp), high(unix)], &log, &args);
    ask(early, "set a 0 0 1\r\n1\r\n", "STORED\r\n");
    ask(TcpStream::connect(addr).unwrap(), "get a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
    ask(UnixStream::connect(&path).unwrap(), "get a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
    wait_for("it says where it listens", || fs::read_to_string(&log).unwrap().contains("listening on"));
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains(&format!("listening on {addr}, {};", path.display())), "{said}");
    assert!(!own.exists());
    service.signal("TERM");
    assert_eq!(service.exit_code(), Some(0));
    assert!(path.exists(), "the file is whoever's made it");
}

#[test]
fn a_descriptor_that_is_no_listener_is_refused_with_its_number() {
    let folder = Folder::new("strangers");
    let log = folder.path("log");
    let (one, _other) = UnixStream::pair().unwrap();
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    for (stranger, want) in [
        (high(datagrams), "slabd: LISTEN_FDS: fd 3 is not a valid tcp socket, nor a unix stream socket\n"),
        (high(file), "slabd: LISTEN_FDS: fd 3 is not a socket, nor a unix stream socket\n"),
        (high(one), "slabd: the inherited socket a nameless socket does not listen\n"),
    ] {
        let mut service = inherit(vec![stranger], &log, &["-p", "-1"]);
        assert_eq!(service.exit_code(), Some(71));
        let said = fs::read_to_string(&log).unwrap();
        assert!(said.ends_with(want), "{said}");
    }
}

#[test]
fn descriptors_meant_for_another_process_are_left_alone() {
    let output = Command::new(SLABD)
        .args(["-l", "192.0.2.1:1"])
        .env("LISTEN_PID", "1")
        .env("LISTEN_FDS", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot listen on 192.0.2.1:1"), "{said}");
}

/// Runs a daemon that goes into the background. What it says goes to a file: a pipe would not end before the daemon does.
fn into_the_background(folder: &Folder, args: &[&str]) -> (Option<i32>, String) {
    let log = folder.path("said");
    let status = Command::new(SLABD)
        .args(["-d", "-l", "127.0.0.1", "-t", "1"])
        .args(args)
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .status()
        .unwrap();
    (status.code(), fs::read_to_string(&log).unwrap())
}

/// A daemon in the background, by the file that has its number.
struct Background(u32);

impl Background {
    fn of(path: &Path) -> Self {
        Self(fs::read_to_string(path).unwrap().trim().parse().unwrap())
    }

    fn is_there(&self) -> bool {
        // One that has ended, and that nobody has taken note of, is gone.
        fs::read_to_string(format!("/proc/{}/stat", self.0)).is_ok_and(|stat| !stat.contains(") Z "))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.is_there() {
            signal(self.0, "KILL");
        }
    }
}

#[test]
fn in_the_background_it_serves_when_the_command_returns_and_takes_its_files_with_it() {
    let folder = Folder::new("background");
    fs::write(folder.path("users"), "foo:bar\n").unwrap();
    // All by names from here, which are to hold from there.
    let args = ["-p", "-1", "-P", "pid", "-s", "socket", "-Y", "users", "-o", "drop_privileges"];
    let (code, said) = into_the_background(&folder, &args);
    assert_eq!(code, Some(0), "{said}");
    let daemon = Background::of(&folder.path("pid"));
    let proc = |name: &str| fs::read_link(format!("/proc/{}/{name}", daemon.0));
    let login = "set x 0 0 7\r\nfoo bar\r\n";
    ask(UnixStream::connect(folder.path("socket")).unwrap(), login, "STORED\r\n");
    if let Ok(directory) = proc("cwd") {
        assert_eq!(directory, Path::new("/"));
        for stream in ["fd/0", "fd/1", "fd/2"] {
            assert_eq!(proc(stream).unwrap(), Path::new("/dev/null"));
        }
    }
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.0)).unwrap();
    let session = stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap().to_owned();
    assert_eq!(session, daemon.0.to_string(), "a session of its own");
    fs::write(folder.path("users"), "foo:new\n").unwrap();
    signal(daemon.0, "HUP");
    let login = "set x 0 0 7\r\nfoo new\r\n";
    wait_for("the file of users is found again", || {
        let mut stream = UnixStream::connect(folder.path("socket")).unwrap();
        stream.write_all(login.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line == "STORED\r\n"
    });
    signal(daemon.0, "TERM");
    wait_for("it ends", || !daemon.is_there());
    assert!(!folder.path("pid").exists() && !folder.path("socket").exists());
}

#[test]
fn what_does_not_start_in_the_background_says_why_and_with_which_code() {
    let folder = Folder::new("refused");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (code, said) = into_the_background(&folder, &["-l", &addr, "-P", "pid"]);
    assert_eq!(code, Some(71));
    assert!(said.contains(&format!("slabd: cannot listen on {addr}: Address already in use\n")), "{said}");
    assert!(!folder.path("pid").exists());
}

#[test]
fn the_file_of_the_number_warns_of_another_and_does_not_take_anothers_away() {
    let folder = Folder::new("pidfile");
    let file = folder.path("pid");
    fs::write(&file, format!("{}\n", std::process::id())).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let (code, said) = into_the_background(&folder, &["-p", "-1", "-P", "pid", "-v"]);
    assert_eq!(code, Some(0), "{said}");
    let running = format!("contained the following (running) pid: {}", std::process::id());
    assert!(said.contains(&running), "{said}");
    let daemon = Background::of(&file);
    assert_ne!(daemon.0, std::process::id());
    fs::write(&file, "1\n").unwrap_or_else(|_| {
        fs::remove_file(&file).unwrap();
        fs::write(&file, "1\n").unwrap();
    });
    signal(daemon.0, "TERM");
    wait_for("it ends", || !daemon.is_there());
    assert_eq!(fs::read_to_string(&file).unwrap(), "1\n");
}

#[test]
fn a_file_of_the_number_that_cannot_be_written_is_a_warning() {
    let manager = Manager::new("nofile");
    let mut service = manager.start(None, &["-P", "/nonexistent/pid"]);
    manager.hear_ready();
    service.signal("TERM");
    assert_eq!(service.exit_code(), Some(0));
}

#[test]
fn lines_for_the_journal_begin_with_their_priority_and_others_do_not() {
    let folder = Folder::new("journal");
    let log = folder.path("log");
    let file = fs::File::create(&log).unwrap();
    let metadata = file.metadata().unwrap();
    let stream = format!("{}:{}", metadata.dev(), metadata.ino());
    for (stream, is_journal) in [(stream, true), ("8:1".to_owned(), false)] {
        fs::write(&log, "").unwrap();
        let mut command = Command::new(SLABD);
        command.args(["-p", "-1", "-l", "127.0.0.1", "-v", "-P", "/nonexistent/pid"]).env("JOURNAL_STREAM", stream);
        let said = fs::OpenOptions::new().append(true).open(&log).unwrap();
        let mut service = Service(command.env_remove("RUST_LOG").stdin(Stdio::null()).stderr(said).spawn().unwrap());
        wait_for("it starts", || fs::read_to_string(&log).unwrap().contains("listening on"));
        service.signal("TERM");
        assert_eq!(service.exit_code(), Some(0));
        let said = fs::read_to_string(&log).unwrap();
        if is_journal {
            assert!(said.lines().all(|line| line.starts_with('<')), "{said}");
            assert!(said.contains("<5>slabd "), "{said}");
            assert!(said.contains("\n<6>slabd::server::signals: signal 15: stopping\n"), "{said}");
            assert!(
                said.contains("<4>slabd::cli: -P/--pidfile: /nonexistent/pid: No such file or directory\n"),
                "{said}"
            );
        } else {
            assert!(!said.lines().any(|line| line.starts_with('<')), "{said}");
        }
    }
}

#[test]
fn of_an_option_said_twice_the_last_is_meant() {
    let manager = Manager::new("twice");
    let _service = manager.start(None, &["-p", "1", "-m", "20", "-M", "-M", "-p", "-1", "-m", "16", "-o", "modern"]);
    let addr = manager.hear_ready();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(b"stats settings\r\nquit\r\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("STAT maxbytes 16777216\r\n"), "{said}");
}

/// A file of the tree.
fn tree(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn the_units_are_good_and_leave_little_exposed() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        assert!(std::env::var_os("SLABD_REQUIRE_SYSTEMD").is_none(), "there is no systemd-analyze");
        eprintln!("this system has no systemd-analyze: units are not verified");
        return;
    };
    assert!(version.status.success());
    let folder = Folder::new("units");
    // Where the unit says the program is, there may be none here.
    for name in ["slabd.service", "slabd@.service", "slabd.socket"] {
        let unit = fs::read_to_string(tree("systemd").join(name)).unwrap();
        let name = name.replace('@', "@11212");
        fs::write(folder.path(&name), unit.replace("/usr/bin/slabd", SLABD)).unwrap();
    }
    for name in ["slabd.service", "slabd@11212.service", "slabd.socket"] {
        let path = folder.path(name);
        let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("slabd")).collect();
        assert!(verified.status.success() && ours.is_empty(), "{name}: {said}");
        if name.ends_with(".service") {
            let mut security = Command::new("systemd-analyze");
            // Tenths: 1.5 at most.
            let security = security.args(["security", "--offline=yes", "--threshold=15"]).arg(&path).output().unwrap();
            let said = String::from_utf8_lossy(&security.stdout).into_owned();
            assert!(security.status.success(), "{name}: {said}");
        }
    }
}

#[test]
fn both_services_are_the_same_but_for_what_makes_them_one_or_many() {
    let lines = |name: &str| fs::read_to_string(tree("systemd").join(name)).unwrap();
    let (one, many) = (lines("slabd.service"), lines("slabd@.service"));
    let differs = ["Description=", "EnvironmentFile=", "ExecStart=", "RuntimeDirectory=", "#"];
    let rest = |unit: &str| {
        let same = unit.lines().filter(|line| !differs.iter().any(|begin| line.starts_with(begin)));
        same.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rest(&one), rest(&many));
}

#[test]
fn options_of_a_memcached_conf_are_taken_as_debian_takes_them() {
    let folder = Folder::new("conf");
    let conf = folder.path("memcached.conf");
    let echo = folder.path("echo");
    fs::write(&echo, "#!/bin/sh\nprintf '[%s]' \"$@\"\n").unwrap();
    fs::set_permissions(&echo, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(
        &conf,
        "# memcached default config file\n-d\nlogfile /var/log/memcached.log\n# -v\n-m 64 # of memory\n\n  -p 11211  \n-u memcache\n\
         -l 127.0.0.1\n# -c 1024\n-Y '/etc/the users'\n-P /var/run/memcached/memcached.pid",
    )
    .unwrap();
    let script = tree("systemd/memcached-conf");
    let output = Command::new(&script).arg(&conf).args(["-t", "a b"]).env("SLABD", &echo).output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "[-m][64][-p][11211][-u][memcache][-l][127.0.0.1][-Y][/etc/the users][-P][/var/run/memcached/memcached.pid][-t][a b]"
    );
    let output = Command::new(&script).arg(folder.path("no.conf")).env("SLABD", &echo).output().unwrap();
    assert!(!output.status.success(), "a file that is not there is not a file without options");
}

#[test]
fn the_core_limit_is_raised_or_that_it_is_not_is_an_error() {
    let manager = Manager::new("cores");
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -S -c 0; exec \"$@\"", "slabd", SLABD, "-p", "-1", "-l", "127.0.0.1", "-r"]);
    let service = Service(limited.env("NOTIFY_SOCKET", &manager.path).stderr(Stdio::null()).spawn().unwrap());
    manager.hear_ready();
    let limits = fs::read_to_string(format!("/proc/{}/limits", service.pid())).unwrap();
    let cores = limits.lines().find(|line| line.starts_with("Max core")).unwrap().split_whitespace().nth(4).unwrap();
    assert_ne!(cores, "0");
    if !is_root() {
        let mut none = Command::new("bash");
        none.args(["-c", "ulimit -c 0; exec \"$@\"", "slabd", SLABD, "-p", "-1", "-l", "127.0.0.1", "-r"]);
        let output = none.stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(71));
        assert!(String::from_utf8(output.stderr).unwrap().contains("-r/--enable-coredumps"));
    }
}
