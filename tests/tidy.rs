//! The style as a test: what neither the compiler nor clippy can see. The reasons are in `lib.rs` and the README.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who may import whom. A target with names may be used for these names only. Everything else is an arrow up.
const IMPORTS: &[(&str, &[Target])] = &[
    ("main", &[("cli", &["main"])]),
    // Stands beside all rooms, as tests do.
    (
        "fuzzing",
        &[
            ("cli", &["parse"]),
            ("server", &["store_config", "udp"]),
            ("session", ANY),
            ("proto", &["binary"]),
            ("command", &["Context", "Daemon"]),
            ("store", ANY),
            ("auth", &["Users"]),
            ("settings", ANY),
            ("stats", ANY),
            ("clock", ANY),
            ("limits", ANY),
        ],
    ),
    (
        "cli",
        &[
            ("server", ANY),
            ("command", &["Daemon"]),
            ("settings", ANY),
            ("clock", &["Clock"]),
            ("pulse", &["Monitor"]),
            ("sys", &["background", "confine", "memory", "pidfile", "process", "systemd"]),
            ("limits", ANY),
        ],
    ),
    (
        "server",
        &[
            ("session", ANY),
            ("events", ANY),
            ("maintain", ANY),
            ("command", &["Out", "Value", "Context", "Daemon", "exposition"]),
            ("auth", &["Auth"]),
            ("tls", &["Tls"]),
            ("store", ANY),
            ("sys", ANY),
            ("settings", ANY),
            ("stats", ANY),
            ("clock", ANY),
            ("pulse", ANY),
            ("limits", ANY),
        ],
    ),
    (
        "session",
        &[
            ("proto", ANY),
            ("command", ANY),
            ("auth", ANY),
            ("events", ANY),
            ("store", &["Store", "Reservation", "Hash", "Value", "Dump", "Listing"]),
            ("stats", ANY),
            ("clock", ANY),
            ("limits", ANY),
        ],
    ),
    (
        "maintain",
        &[
            ("sys", &["process"]),
            ("store", ANY),
            ("settings", ANY),
            ("stats", ANY),
            ("clock", ANY),
            ("pulse", &["Pulse"]),
            ("limits", ANY),
        ],
    ),
    ("proto", &[("command", VOCABULARY), ("events", &["escape", "escape_unless", "is_speakable"]), ("limits", ANY)]),
    (
        "command",
        &[
            ("auth", &["Auth"]),
            ("tls", &["Tls", "TlsError"]),
            ("store", ANY),
            ("events", ANY),
            // What `stats` tells of the process.
            ("sys", &["process"]),
            ("settings", ANY),
            ("stats", ANY),
            ("clock", ANY),
            ("limits", ANY),
        ],
    ),
    (
        "store",
        &[
            ("sys", &["memory"]),
            ("events", ANY),
            ("settings", &["Background", "ClassSizes", "LruMode", "LruTuning"]),
            ("stats", ANY),
            ("clock", ANY),
            ("limits", ANY),
        ],
    ),
    ("auth", &[("sys", &["process"]), ("limits", ANY)]),
    ("tls", &[("sys", &["process"]), ("settings", ANY), ("clock", &["Tick"]), ("limits", ANY)]),
    ("sys", &[("limits", ANY)]),
    ("stats", &[("events", ANY), ("limits", ANY)]),
    ("events", &[("limits", ANY)]),
    ("settings", &[("events", &["LogLens"]), ("limits", ANY)]),
    ("clock", &[]),
    ("pulse", &[]),
    ("limits", &[]),
    ("lib", &[]),
];

/// A room, and which of its names may be used.
type Target = (&'static str, &'static [&'static str]);

const ANY: &[&str] = &[];

/// What `command` says, as against what it does.
#[rustfmt::skip]
const VOCABULARY: &[&str] = &[
    "Automove", "ClassSet", "Count", "Initial", "MaintainCommand", "Protocol",
    "DebugCommand", "DumpForm", "Dumped", "Kinds", "Shutdown", "StreamRequest",
    "Command", "Direction", "Factor", "Leased", "Lifetimes", "LruCommand", "LruMode", "Marks", "MetaCommand", "MetaCount",
    "MetaDelete", "MetaGet", "MetaOutcome", "MetaShape", "MetaView", "Opaque", "Out", "Outcome", "Receipt", "ReplyShape",
    "DetailCommand", "Report", "StatsTopic", "Step", "Watching", "StoreRequest", "StoreTerms", "StoreVerb", "VERSION", "Value", "View", "WireError",
];

/// Where a crate may be used.
const CRATES: &[(&str, &[&str])] = &[
    ("clap", &["cli.rs", "cli/"]),
    ("rustls", &["tls.rs", "server/tls.rs"]),
    ("env_logger", &["cli.rs", "cli/"]),
    ("httparse", &["server/metrics.rs"]),
    ("mio", &["server/"]),
    ("socket2", &["server/"]),
    ("slab", &["server/"]),
    ("signal_hook", &["server/signals.rs"]),
    ("signal_hook_mio", &["server/signals.rs"]),
    ("libc", &["sys/", "server/signals.rs"]),
    ("nix", &["sys/", "server/signals.rs"]),
    ("core_affinity", &["sys/"]),
    ("caps", &["sys/"]),
    ("listenfd", &["sys/"]),
    ("sd_notify", &["sys/"]),
    ("seccompiler", &["sys/"]),
    ("log", &["cli.rs", "cli/", "main.rs", "server/", "session/", "command/", "maintain/", "sys/", "tls.rs"]),
];

/// The only files with unsafe code.
const UNSAFE: &[&str] = &["store/arena.rs", "store/item.rs", "sys/background.rs", "sys/memory.rs"];

/// The most lines a file may have, unit tests included. A file near its ceiling is a question, not a reason to split.
const CEILINGS: &[(&str, usize)] = &[
    ("proto/login.rs", 150),
    ("proto/sasl.rs", 150),
    ("server/udp.rs", 330),
    ("session/login.rs", 150),
    ("main.rs", 15),
    ("lib.rs", 200),
    ("cli.rs", 350),
    ("cli/flags.rs", 800),
    ("cli/accepted.rs", 120),
    ("cli/log.rs", 120),
    ("cli/extended.rs", 350),
    ("auth.rs", 400),
    ("tls.rs", 350),
    ("server/tls.rs", 700),
    ("command/report/tls.rs", 100),
    ("fuzzing.rs", 230),
    ("settings.rs", 380),
    ("settings/classes.rs", 100),
    ("settings/tls.rs", 120),
    ("server/mod.rs", 380),
    ("server/listen.rs", 340),
    ("server/acceptor.rs", 350),
    ("server/inbox.rs", 200),
    ("server/inherit.rs", 100),
    ("server/worker.rs", 550),
    ("server/conn.rs", 370),
    ("server/conn/account.rs", 130),
    ("server/conn/goodbye.rs", 80),
    ("server/conn/input.rs", 120),
    ("server/conn/output.rs", 110),
    ("server/outbox.rs", 400),
    ("server/idle.rs", 200),
    ("server/desk.rs", 200),
    ("server/pending.rs", 320),
    ("server/socket.rs", 150),
    ("server/signals.rs", 150),
    ("session/mod.rs", 520),
    ("session/batch.rs", 400),
    ("session/binary.rs", 400),
    ("proto/mod.rs", 220),
    ("proto/line.rs", 450),
    ("proto/text.rs", 1150),
    ("proto/admin.rs", 350),
    ("proto/meta.rs", 750),
    ("proto/lease.rs", 150),
    ("proto/binary.rs", 750),
    ("command/mod.rs", 120),
    ("command/request.rs", 220),
    ("command/admin.rs", 220),
    ("command/reply.rs", 80),
    ("command/outcome.rs", 230),
    ("command/execute.rs", 550),
    ("command/arithmetic.rs", 200),
    ("command/meta.rs", 350),
    ("command/report.rs", 450),
    ("command/control.rs", 250),
    ("store/mod.rs", 950),
    ("store/write.rs", 930),
    ("store/item.rs", 600),
    ("store/large.rs", 250),
    ("store/relocate.rs", 350),
    ("store/reassign.rs", 330),
    ("store/resize.rs", 300),
    ("store/sweep.rs", 450),
    ("store/arena.rs", 400),
    ("store/pages.rs", 580),
    ("store/sizes.rs", 350),
    ("store/table.rs", 960),
    ("store/table/walk.rs", 150),
    ("store/table/merge.rs", 380),
    ("store/dump.rs", 300),
    ("store/debug.rs", 80),
    ("store/peek.rs", 80),
    ("proto/dump.rs", 200),
    ("session/stream.rs", 250),
    ("command/tell.rs", 150),
    ("store/locks.rs", 300),
    ("store/locks/word.rs", 80),
    ("store/meta.rs", 600),
    ("store/moves.rs", 200),
    ("store/lru.rs", 550),
    ("store/evict.rs", 620),
    ("store/queues.rs", 500),
    ("store/expiry.rs", 250),
    ("store/hash.rs", 80),
    ("store/chores.rs", 250),
    ("store/audit.rs", 400),
    ("maintain/mod.rs", 270),
    ("maintain/automove.rs", 250),
    ("maintain/bound.rs", 150),
    ("sys/mod.rs", 60),
    ("sys/memory.rs", 410),
    ("sys/affinity.rs", 150),
    ("sys/process.rs", 300),
    ("sys/background.rs", 120),
    ("sys/confine.rs", 350),
    ("sys/pidfile.rs", 100),
    ("sys/systemd.rs", 150),
    ("pulse.rs", 180),
    ("stats.rs", 520),
    ("stats/conns.rs", 200),
    ("stats/hotkeys.rs", 400),
    ("stats/latency.rs", 320),
    ("stats/prefixes.rs", 150),
    ("stats/sizes.rs", 150),
    ("command/exposition.rs", 300),
    ("command/observe.rs", 200),
    ("server/metrics.rs", 300),
    ("store/lengths.rs", 100),
    ("events.rs", 450),
    ("events/hub.rs", 530),
    ("clock.rs", 220),
    ("limits.rs", 460),
];

/// Words that say that something is not done, or that name somebody's machine. In halves, or this file would be the first.
const WORDS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!(".cargo/", "registry"),
];

#[test]
fn no_room_imports_from_a_room_above_it() {
    let mut faults = Vec::new();
    for (name, code) in sources() {
        let room = room(&name);
        let Some((_, allowed)) = IMPORTS.iter().find(|(known, _)| *known == room) else {
            faults.push(format!("{name}: no line in the import table for '{room}'"));
            continue;
        };
        for path in imports(&name, &code) {
            let mut words = path.split("::");
            let (target, item) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let is_fine = target == room
                || allowed.iter().any(|(known, names)| *known == target && (names.is_empty() || names.contains(&item)));
            if !is_fine {
                faults.push(format!("{name}: {room} may not import {path}"));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn crates_are_used_only_where_they_belong() {
    let mut faults = Vec::new();
    for (name, code) in sources() {
        for (library, places) in CRATES {
            let used = paths_of(&code, &format!("{library}::")).next().is_some()
                || code.lines().any(|line| line.trim() == format!("use {library};"));
            if used && !places.iter().any(|place| name.starts_with(place)) {
                faults.push(format!("{name}: {library} belongs in {places:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn unsafe_code_is_only_in_the_files_that_may_hold_it() {
    let holds = |(name, code): (String, String)| {
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.into_iter().any(|word| word == "unsafe").then_some(name)
    };
    let strangers: Vec<String> = sources().filter_map(holds).filter(|name| !UNSAFE.contains(&name.as_str())).collect();
    assert!(strangers.is_empty(), "unsafe code in {strangers:?}");
}

#[test]
fn no_file_is_longer_than_its_ceiling() {
    let mut faults = Vec::new();
    for path in files(&root().join("src")) {
        let name = name(&path);
        let line_count = read(&path).lines().count();
        match CEILINGS.iter().find(|(known, _)| *known == name) {
            None => faults.push(format!("{name} ({line_count} lines) has no ceiling")),
            Some((_, ceiling)) if line_count > *ceiling => {
                faults.push(format!("{name} has {line_count} lines, more than {ceiling}"));
            }
            Some(_) => {}
        }
    }
    let gone = CEILINGS.iter().filter(|(known, _)| !root().join("src").join(known).exists());
    faults.extend(gone.map(|(known, _)| format!("{known} has a ceiling and is not there")));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn nothing_unfinished_and_nobodys_machine_is_in_the_tree() {
    let mut faults = Vec::new();
    let folders = ["src", "tests", "benches", "man", "systemd", ".ci"].map(|folder| files(&root().join(folder)));
    let single = ["README.md", "CHANGELOG.md", "Cargo.toml"].map(|file| root().join(file));
    for path in folders.into_iter().flatten().chain(single).filter(|path| path.exists()) {
        for (index, line) in read(&path).lines().enumerate() {
            for word in WORDS.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("{}:{}: {word}", path.display(), index + 1));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_man_page_and_the_readme_list_the_options_of_help() {
    let help = Command::new(env!("CARGO_BIN_EXE_slabd")).arg("--help").output().expect("slabd runs");
    assert!(help.status.success(), "--help fails");
    let help = String::from_utf8(help.stdout).expect("help is text");
    let told = options(help.lines().filter(|line| line.trim_start().starts_with('-')));
    assert!(told.contains("--port") && told.contains("-m"), "no options in --help:\n{help}");
    let man = read(&root().join("man/slabd.1")).replace("\\-", "-");
    let mut after_mark = false;
    let listed = options(man.lines().filter(|line| std::mem::replace(&mut after_mark, *line == ".TP")));
    assert_eq!(listed, told, "man/slabd.1 (left) and --help (right)");
    let readme = read(&root().join("README.md"));
    let listed = options(
        readme.lines().filter(|line| line.starts_with("| `-")).map(|line| line.split('|').nth(1).unwrap_or_default()),
    );
    assert_eq!(listed, told, "README.md (left) and --help (right)");
}

/// Options named in the beginning of each line: words that begin with a dash, before anything else of length.
fn options<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut options = BTreeSet::new();
    for line in lines {
        let line = line.trim().trim_start_matches(".BR ").trim_start_matches(".B ").trim_start_matches(".BI ");
        let head = line.split("  ").next().unwrap_or_default();
        for word in head.split(|c: char| c.is_whitespace() || "`,.=<[\"".contains(c)) {
            let is_option = word.strip_prefix("--").is_some_and(|long| long.len() > 1) || is_short(word);
            if is_option {
                options.insert(word.to_owned());
            }
        }
    }
    options
}

fn is_short(word: &str) -> bool {
    word.len() == 2 && word.starts_with('-') && word.ends_with(|c: char| c.is_ascii_alphabetic())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files under `src` as (name from there, code without comments and unit tests).
fn sources() -> impl Iterator<Item = (String, String)> {
    files(&root().join("src")).into_iter().map(|path| (name(&path), code(&read(&path))))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.strip_prefix(root().join("src")).expect("a path under src").display().to_string()
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("a file can be read")).into_owned()
}

/// The room a file is in: its folder, or its own name.
fn room(name: &str) -> &str {
    name.split_once('/').map_or(name.trim_end_matches(".rs"), |(room, _)| room)
}

fn code(source: &str) -> String {
    let mut code = String::new();
    let mut lines = source.lines().peekable();
    while let Some(line) = lines.next() {
        let is_tests = line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.starts_with("mod "));
        if is_tests {
            break;
        }
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

/// Paths from the crate's root, as far as their second word.
fn imports(name: &str, code: &str) -> Vec<String> {
    let mut roots = vec!["crate::", "slabd::"];
    // The parent of a room's first file is the root as well.
    if !name.contains('/') || name.ends_with("/mod.rs") && name.matches('/').count() == 1 {
        roots.push("super::");
    }
    roots.into_iter().flat_map(|root| paths_of(code, root)).flat_map(|rest| tree(rest, 2)).collect()
}

/// What stands behind each mention of a root, such as `crate::`.
fn paths_of<'a>(code: &'a str, root: &str) -> impl Iterator<Item = &'a str> {
    code.match_indices(root).filter_map(|(at, found)| {
        let before = code[..at].chars().next_back();
        let is_inside = before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
        (!is_inside).then(|| &code[at + found.len()..])
    })
}

/// The paths that begin here, braces multiplied out, each at most so many words long.
fn tree(text: &str, depth: usize) -> Vec<String> {
    let text = text.trim_start();
    if let Some(inside) = text.strip_prefix('{') {
        return parts(inside).into_iter().flat_map(|part| tree(part, depth)).collect();
    }
    let len = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(len);
    if word.is_empty() || word == "self" {
        return Vec::new();
    }
    let below = match rest.strip_prefix("::") {
        Some(rest) if depth > 1 => tree(rest, depth - 1),
        _ => Vec::new(),
    };
    if below.is_empty() {
        return vec![word.to_owned()];
    }
    below.into_iter().map(|path| format!("{word}::{path}")).collect()
}

/// What stands between the commas, up to the closing brace.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut level, mut start) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' => level += 1,
            '}' if level == 0 => {
                parts.push(&text[start..at]);
                return parts;
            }
            '}' => level -= 1,
            ',' if level == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}
