//! The real binary: what it refuses, what it says, and how signals end it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn slabd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slabd"));
    command.args(args).env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(args: &[&str]) -> Output {
    slabd(args).output().unwrap()
}

/// A daemon on a port of the kernel's choice. Killed when dropped, should the test end early.
struct Daemon {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// Its first line that says where it listens.
    line: String,
    addr: SocketAddr,
}

impl Daemon {
    fn start(args: &[&str]) -> Self {
        let mut child = slabd(&["-p", "-1", "-l", "127.0.0.1"]).args(args).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "the daemon ended without a word");
        }
        let addr = line.split("listening on ").nth(1).unwrap().split([',', ';']).next().unwrap().parse().unwrap();
        Self { child, stderr, line, addr }
    }

    fn client(&self) -> TcpStream {
        let mut client = TcpStream::connect(self.addr).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut answer = [0; 5];
        client.write_all(b"get x\r\n").unwrap();
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"END\r\n");
        client
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Its exit code, which has to come soon.
    fn exit_code(mut self) -> i32 {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().expect("it exits by itself, no signal kills it");
            }
            assert!(Instant::now() < deadline, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_bad_value_is_one_line_that_names_its_option_and_nothing_starts() {
    let table: [(&[&str], &str); 7] = [
        (&["-m", "0"], "slabd: -m/--memory-limit: '0'"),
        (&["-t", "no"], "slabd: -t/--threads: 'no'"),
        (&["-U", "x"], "slabd: -U/--udp-port: 'x'"),
        (&["-o", "idle_timeout=1,wings"], "slabd: -o/--extended: 'wings'"),
        (&["-l", "127.0.0.1:70000"], "slabd: -l/--listen 127.0.0.1:70000: '70000'"),
        (&["--wings"], "slabd: unexpected argument '--wings'"),
        (&["-m"], "slabd: a value is required for '--memory-limit"),
    ];
    for (args, want) in table {
        let output = output(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{args:?}: {said}");
        assert!(said.starts_with(want) && said.trim_end().lines().count() == 1, "{args:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_and_version_are_said_on_standard_output() {
    let version = output(&["--version"]);
    assert!(version.status.success());
    assert_eq!(String::from_utf8(version.stdout).unwrap(), format!("slabd {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(output(&["-V"]).stdout, output(&["--version"]).stdout);
    for flag in ["-h", "--help"] {
        let help = output(&[flag]);
        assert!(help.status.success());
        let said = String::from_utf8(help.stdout).unwrap();
        for option in ["--port", "--memory-limit", "--listen", "--extended", "--user"] {
            assert!(said.contains(option), "{flag} does not tell {option}");
        }
    }
}

#[test]
fn the_first_line_says_where_how_much_and_who_can_reach_it() {
    let daemon = Daemon::start(&["-m", "16", "-t", "1"]);
    let want = format!(
        "slabd {}: listening on {}; 16 MB for items; 1 worker thread; loopback only, -l 0.0.0.0 serves the network\n",
        env!("CARGO_PKG_VERSION"),
        daemon.addr
    );
    assert_eq!(daemon.line, want);
}

#[test]
fn the_first_line_names_udp_too_be_it_all_there_is_or_not() {
    let said = |args: &[&str]| {
        let mut child = slabd(args).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("listening on ")).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let (places, rest) = line.split_once("listening on ").unwrap().1.split_once("; ").unwrap();
        let places: Vec<String> = places.split(", ").map(str::to_owned).collect();
        (places, rest.to_owned())
    };
    let (places, rest) = said(&["-p", "0", "-U", "-1", "-l", "127.0.0.1", "-m", "16", "-t", "1"]);
    let addr: SocketAddr = places[0].strip_prefix("udp:").unwrap().parse().unwrap();
    assert!(places.len() == 1 && addr.ip().is_loopback() && addr.port() > 0, "{places:?}");
    assert_eq!(rest, "16 MB for items; 1 worker thread; loopback only, -l 0.0.0.0 serves the network");
    let (places, _) = said(&["-p", "-1", "-U", "-1", "-l", "127.0.0.1"]);
    assert!(
        places.len() == 2 && places[0].parse::<SocketAddr>().is_ok() && places[1].starts_with("udp:"),
        "{places:?}"
    );
}

#[test]
fn a_taken_address_is_said_and_exits() {
    let daemon = Daemon::start(&[]);
    let addr = daemon.addr.to_string();
    let output = output(&["-l", &addr]);
    assert_eq!(output.status.code(), Some(71));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("slabd: cannot listen on {addr}: Address already in use\n")), "{said}");
}

#[test]
fn an_unknown_user_is_refused_if_it_matters() {
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if root {
        let output = output(&["-p", "-1", "-u", "no-such-user"]);
        assert_eq!(output.status.code(), Some(67));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "slabd: -u/--user: there is no user 'no-such-user'\n");
    }
}

#[test]
fn a_stop_signal_ends_it_well_and_soon_with_a_client_connected() {
    for signal in ["TERM", "INT", "USR1"] {
        let mut daemon = Daemon::start(&["-t", "2"]);
        let mut client = daemon.client();
        // Neither of these ends it.
        daemon.signal("HUP");
        daemon.signal("PIPE");
        client = {
            drop(client);
            daemon.client()
        };
        daemon.signal(signal);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
        let mut said = String::new();
        daemon.stderr.read_to_string(&mut said).unwrap();
        assert_eq!(said, "", "a stop is nothing to warn of");
        assert_eq!(daemon.exit_code(), 0);
    }
}

#[test]
fn a_client_may_end_it_if_an_option_says_so() {
    for (request, ends) in [("shutdown", true), ("shutdown graceful", true), ("shutdown soon", false)] {
        let mut daemon = Daemon::start(&["-t", "2", "-A"]);
        let (mut client, mut other) = (daemon.client(), daemon.client());
        client.write_all(format!("{request}\r\n{request}\r\nversion\r\n").as_bytes()).unwrap();
        if !ends {
            let mut said = [0; 36];
            client.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"CLIENT_ERROR invalid shutdown mode\r\n");
            continue;
        }
        for client in [&mut client, &mut other] {
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).unwrap();
            assert!(rest.is_empty());
        }
        let mut said = String::new();
        daemon.stderr.read_to_string(&mut said).unwrap();
        assert!(said.contains("told so by a client") && said.lines().count() == 1, "{said}");
        assert_eq!(daemon.exit_code(), 0);
    }
}

#[test]
fn a_file_of_users_is_read_at_start_and_again_on_sighup() {
    let file = std::env::temp_dir().join(format!("slabd-{}-users", std::process::id()));
    let path = file.to_str().unwrap();
    std::fs::write(&file, "foo\n").unwrap();
    let refused = output(&["-p", "-1", "-Y", path]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(71));
    assert_eq!(said, format!("slabd: -Y/--auth-file: {path} line 1: malformed entry, should be 'user:password'\n"));

    std::fs::write(&file, "foo:bar\n").unwrap();
    let mut daemon = Daemon::start(&["-Y", path]);
    let said = |login: &str, len: usize| {
        let mut client = TcpStream::connect(daemon.addr).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.write_all(format!("set x 0 0 {}\r\n{login}\r\n", login.len()).as_bytes()).unwrap();
        let mut answer = vec![0; len];
        client.read_exact(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    };
    let (stored, failure) = ("STORED\r\n", "CLIENT_ERROR authentication failure\r\n");
    assert_eq!(said("foo bar", stored.len()), stored);
    std::fs::write(&file, "foo:new\n").unwrap();
    daemon.signal("HUP");
    let mut line = String::new();
    daemon.stderr.read_line(&mut line).unwrap();
    assert!(line.contains("read again: 1 users"), "{line}");
    assert_eq!(said("foo bar", failure.len()), failure);
    assert_eq!(said("foo new", stored.len()), stored);
    std::fs::remove_file(&file).unwrap();
    daemon.signal("HUP");
    line.clear();
    daemon.stderr.read_line(&mut line).unwrap();
    assert!(line.contains("cannot read"), "{line}");
    assert_eq!(said("foo new", stored.len()), stored);
}

#[test]
fn the_ports_are_told_to_a_file_if_the_environment_names_one() {
    let path = std::env::temp_dir().join(format!("slabd-{}-ports", std::process::id()));
    let mut child =
        slabd(&["-p", "-1", "-U", "-1", "-l", "127.0.0.1"]).env("MEMCACHED_PORT_FILENAME", &path).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !path.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let ports: Vec<(&str, u16)> = text
        .lines()
        .map(|line| line.split_once(": ").unwrap())
        .map(|(kind, port)| (kind, port.parse().unwrap()))
        .collect();
    assert!(matches!(ports[..], [("TCP INET", 1..), ("UDP INET", 1..)]), "{text}");
    assert!(TcpStream::connect(("127.0.0.1", ports[0].1)).is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_file(&path).unwrap();
}
