//! `stats`: which report is asked for, and those that are about single connections, keys and times.

use super::{Context, DetailCommand, Outcome, Report, StatsTopic, Watching, WireError, report};
use crate::events::{escape, escape_unless, is_speakable};
use crate::limits::{HOTKEYS_SAMPLE, REPORTS_LEN_MAX, TURN_COPIED_MAX, TURN_REPORTS_MAX};
use crate::stats::Switch;

/// `stats ...`.
pub(super) fn stats(cx: &mut Context<'_>, topic: StatsTopic) -> Outcome<'static> {
    if topic.is_costly() {
        if cx.local.puts_off() {
            return Outcome::Later;
        }
        // Nor are they made for whoever asks and does not read.
        if cx.daemon.stats.totals().reports_bytes > REPORTS_LEN_MAX {
            return Outcome::Refused(WireError::OutOfMemoryStats);
        }
    }
    cx.local.note_work(if topic.is_costly() { TURN_COPIED_MAX } else { TURN_COPIED_MAX / TURN_REPORTS_MAX });
    match topic {
        StatsTopic::General => Outcome::Report(report::general(cx)),
        StatsTopic::Settings => Outcome::Report(report::settings(cx)),
        StatsTopic::Items => Outcome::Report(report::items(cx)),
        StatsTopic::Slabs => Outcome::Report(report::slabs(cx)),
        StatsTopic::Sizes => Outcome::Report(sizes(cx)),
        StatsTopic::TrackSizes(on) => Outcome::Rows(track_sizes(cx, on)),
        StatsTopic::Conns => Outcome::Report(conns(cx)),
        StatsTopic::Detail(None) => Outcome::Refused(WireError::BadDetailUsage),
        StatsTopic::Detail(Some(DetailCommand::Dump)) => Outcome::Prefixes(prefixes(cx)),
        StatsTopic::Detail(Some(DetailCommand::Turn(on))) => turn(cx, Switch::Detail, on),
        StatsTopic::Latency(Watching::Tell) => Outcome::Report(latency(cx)),
        StatsTopic::Latency(Watching::Turn(on)) => turn(cx, Switch::Latency, on),
        StatsTopic::Latency(Watching::Reset) => {
            cx.daemon.stats.reset_latency();
            Outcome::Reset
        }
        // Keys are not shown with `-X`.
        StatsTopic::Hotkeys(_) if !cx.daemon.settings.dumps => Outcome::Refused(WireError::UnknownCommand),
        StatsTopic::Hotkeys(Watching::Tell) => Outcome::Report(hotkeys(cx)),
        StatsTopic::Hotkeys(Watching::Turn(on)) => turn(cx, Switch::Hotkeys, on),
        StatsTopic::Hotkeys(Watching::Reset) => {
            cx.daemon.stats.reset_hot_keys();
            Outcome::Reset
        }
        StatsTopic::Reset => {
            cx.daemon.stats.reset();
            cx.daemon.store.reset_class_counts();
            Outcome::Reset
        }
    }
}

fn turn(cx: &Context<'_>, which: Switch, on: bool) -> Outcome<'static> {
    cx.daemon.stats.watch().turn(which, on);
    // What this client has sent behind it is done under the new rule.
    cx.local.stats.begin_turn();
    Outcome::Done
}

/// `stats sizes`: bytes of items (header, key, value) rounded up, and how many have that many.
fn sizes(cx: &Context<'_>) -> Report {
    let mut report = Report::default();
    if !cx.daemon.store.tracks_lengths() {
        report.push("sizes_status", "disabled");
        return report;
    }
    for (len, count) in cx.daemon.stats.sizes() {
        report.push(len.to_string(), count);
    }
    report
}

/// `stats sizes_enable`, `stats sizes_disable`.
fn track_sizes(cx: &mut Context<'_>, on: bool) -> Report {
    let store = &cx.daemon.store;
    let mut report = Report::default();
    if !on {
        store.forget_lengths();
        report.push("sizes_status", "disabled");
        return report;
    }
    if !store.tracks_lengths() {
        cx.daemon.stats.begin_sizes();
    }
    if store.tracks_lengths() || store.track_lengths(cx.local) {
        report.push("sizes_status", "enabled");
    } else {
        report.push("sizes_status", "error");
        report.push("sizes_error", "cas_support_disabled");
    }
    report
}

/// `stats conns`: listeners and connections, by descriptor.
fn conns(cx: &Context<'_>) -> Report {
    let mut report = Report::default();
    let (rows, untold) = cx.daemon.stats.conns();
    for row in rows {
        let fd = row.fd;
        report.push(format!("{fd}:addr"), row.addr);
        if let Some(own) = row.listen_addr {
            report.push(format!("{fd}:listen_addr"), own);
        }
        report.push(format!("{fd}:state"), row.state);
        report.push(format!("{fd}:secs_since_last_cmd"), cx.now.tick.secs().saturating_sub(row.secs));
    }
    if untold > 0 {
        report.push("conns_untold", untold);
    }
    report
}

/// `stats detail dump`, in memcached's format. What would break a line (a key of the binary protocol may have it) is escaped.
fn prefixes(cx: &Context<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    for row in cx.daemon.stats.prefixes() {
        text.extend_from_slice(b"PREFIX ");
        escape_unless(&row.prefix, is_speakable, |part| text.extend_from_slice(part));
        let counts = format!(" get {} hit {} set {} del {}\r\n", row.gets, row.hits, row.sets, row.deletes);
        text.extend_from_slice(counts.as_bytes());
    }
    text
}

/// `stats latency`: microseconds, by kind of request. What they are: `stats/latency.rs`.
fn latency(cx: &Context<'_>) -> Report {
    let mut report = Report::default();
    report.push("latency_enabled", report::yes(cx.daemon.stats.watch().is_on(Switch::Latency)));
    let timing = cx.daemon.stats.timing();
    for (name, kind) in timing.kinds() {
        let count = kind.count();
        report.push(format!("{name}:count"), count);
        if count == 0 {
            continue;
        }
        report.push(format!("{name}:mean_us"), micros(kind.sum_ns() / count));
        for (quantile, thousandths) in [("p50", 500), ("p90", 900), ("p99", 990), ("p999", 999), ("max", 1000)] {
            let ns = kind.quantile_ns(thousandths).expect("there was a request");
            report.push(format!("{name}:{quantile}_us"), micros(ns));
        }
    }
    report
}

fn micros(ns: u64) -> String {
    format!("{}.{}", ns / 1000, ns % 1000 / 100)
}

/// `stats hotkeys`: the keys used most in the last minutes, by samples. What they are: `stats/hotkeys.rs`.
fn hotkeys(cx: &Context<'_>) -> Report {
    let mut report = Report::default();
    report.push("hotkeys_enabled", report::yes(cx.daemon.stats.watch().is_on(Switch::Hotkeys)));
    report.push("hotkeys_one_in", HOTKEYS_SAMPLE);
    let hot = cx.daemon.stats.hot_keys(cx.now.tick.secs());
    report.push("hotkeys_samples", hot.samples);
    report.push("hotkeys_per_sec", format!("{:.0}", hot.per_sec));
    for (rank, key) in (1..).zip(&hot.keys) {
        let mut name = Vec::new();
        escape(&key.key, |part| name.extend_from_slice(part));
        report.push(format!("{rank}:key"), String::from_utf8_lossy(&name));
        report.push(format!("{rank}:pct"), format!("{:.2}", key.share * 100.0));
        report.push(format!("{rank}:pct_error"), format!("{:.2}", key.error * 100.0));
        report.push(format!("{rank}:per_sec"), format!("{:.0}", key.per_sec));
    }
    report
}
