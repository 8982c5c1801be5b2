//! What is said on standard error: to people with time and level, to the journal with its own priorities.

use crate::sys::systemd;
use log::{Level, LevelFilter};
use std::fmt::Write as _;
use std::io::Write as _;

/// Starts the log.
pub(super) fn start(verbosity: u8) {
    let level = match verbosity {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    let mut log = env_logger::Builder::new();
    if systemd::stderr_is_journal() {
        log.format(|out, record| {
            let said = format!("{}: {}", record.target(), record.args());
            out.write_all(for_journal(priority(record.level()), &said).as_bytes())
        });
    }
    if std::env::var_os(env_logger::DEFAULT_FILTER_ENV).is_some() {
        log.filter_level(level).parse_default_env().init();
    } else {
        // The logger lets everything pass, so that there is one sieve only, which `verbosity` widens or narrows.
        log.filter_level(LevelFilter::Trace).parse_default_env().init();
        log::set_max_level(level);
    }
}

/// Says a line whatever the level: one that is no trouble.
pub(super) fn notice(line: &str) {
    say(NOTICE, line);
}

/// The same: why the daemon ends.
pub(super) fn fatal(line: &str) {
    say(ERROR, line);
}

fn say(priority: u8, line: &str) {
    if systemd::stderr_is_journal() {
        eprint!("{}", for_journal(priority, line));
    } else {
        eprintln!("{line}");
    }
}

/// Each line with its priority: one that begins without, or with one of its own, would have another.
fn for_journal(priority: u8, said: &str) -> String {
    let mut lines = String::new();
    for line in said.lines() {
        // Writing to a string does not fail.
        let _ = writeln!(lines, "<{priority}>{line}");
    }
    lines
}

/// What syslog calls it.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => ERROR,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

const ERROR: u8 = 3;

const NOTICE: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_makes_up_its_own_priority() {
        assert_eq!(for_journal(priority(Level::Warn), "a\n<0>b"), "<4>a\n<4><0>b\n");
        assert!(priority(Level::Error) < NOTICE && NOTICE < priority(Level::Info));
    }
}
