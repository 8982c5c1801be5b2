//! Numbers in the text format of Prometheus (version 0.0.4): what `stats` tells under names as Prometheus wants them. Counters end in
//! `_total`, times are in seconds, lengths in bytes.
//!
//! Written by hand: the format is lines, and the values are sums that are at hand already, not metrics of a library's own.

use super::report::{class_hits, uptime_secs};
use super::{Daemon, VERSION};
use crate::stats::{BUCKETS, ClassEvent, ClassSums, Timing, Totals, bucket_end_ns};
use crate::store::ClassSummary;
use crate::sys::process::{cpu_times, resident_len};
use std::fmt::{Display, Write as _};

/// Everything, as text.
#[must_use]
pub fn exposition(daemon: &Daemon) -> String {
    let mut page = Page(String::with_capacity(64 << 10));
    let totals = daemon.stats.totals();
    process(&mut page, daemon);
    connections(&mut page, daemon, &totals);
    commands(&mut page, &totals);
    memory(&mut page, daemon, &totals);
    background(&mut page, daemon, &totals);
    let classes = daemon.store.classes(daemon.clock.now());
    by_class(&mut page, &classes, &daemon.stats.classes());
    latency(&mut page, &daemon.stats.timing());
    page.0
}

/// The text so far.
struct Page(String);

/// Labels of a sample: name and value. Values are plain words here, and need no escaping.
type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    /// Announces samples of a name.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP slabd_{name} {help}\n# TYPE slabd_{name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        let _ = write!(self.0, "slabd_{name}");
        for (place, (label, word)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{word}\"", if place == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    /// A family of counters told apart by one label.
    fn counters(&mut self, name: &str, help: &str, label: &str, samples: &[(&str, u64)]) {
        self.family(name, "counter", help);
        for (word, value) in samples {
            self.sample(name, &[(label, *word)], value);
        }
    }
}

/// Nanoseconds or microseconds in seconds, without rounding.
fn secs(number: u64, per_sec: u64) -> String {
    let digits = per_sec.ilog10() as usize;
    format!("{}.{:0digits$}", number / per_sec, number % per_sec)
}

fn process(page: &mut Page, daemon: &Daemon) {
    page.family("build_info", "gauge", "Which slabd this is; always 1.");
    page.sample("build_info", &[("version", env!("CARGO_PKG_VERSION")), ("protocol_version", VERSION)], 1);
    let started = daemon.clock.started_unix_secs();
    page.gauge("start_time_seconds", "When the daemon was started, since 1970.", started);
    page.gauge("uptime_seconds", "How long the daemon has been up.", uptime_secs(daemon.clock.now().tick));
    let cpu = cpu_times();
    page.family("cpu_seconds_total", "counter", "Processor time used.");
    for (mode, time) in [("user", cpu.user), ("system", cpu.system)] {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        page.sample("cpu_seconds_total", &[("mode", mode)], secs(micros, 1_000_000));
    }
    if let Some(len) = resident_len() {
        page.gauge("resident_memory_bytes", "Memory of the process that is resident.", len);
    }
    page.gauge("threads", "Worker threads.", daemon.settings.threads);
}

fn connections(page: &mut Page, daemon: &Daemon, totals: &Totals) {
    page.gauge("connections", "Connections open now.", totals.curr_connections);
    page.gauge("connections_limit", "Connections there may be.", daemon.settings.conn_limit);
    page.counter("connections_accepted_total", "Connections ever served.", totals.total_connections);
    page.counter("connections_rejected_total", "Connections turned away at the limit.", totals.rejected_connections);
    page.counter("connections_idle_closed_total", "Connections closed for idleness.", totals.idle_kicks);
    page.counter("connection_yields_total", "Turns of connections cut short for the others.", totals.conn_yields);
    let accepting = u8::from(totals.listen_disabled == 0);
    page.gauge("accepting_connections", "Whether connections are accepted.", accepting);
    page.counter("listen_disabled_total", "Times that accepting had to stop.", totals.listen_disabled_num);
    page.counter("read_bytes_total", "Bytes read from clients.", totals.bytes_read);
    page.counter("written_bytes_total", "Bytes written to clients.", totals.bytes_written);
    page.gauge("read_buffers_bytes", "Buffers of input in use.", totals.read_buf_bytes);
    page.gauge("unsent_answers_bytes", "Buffers of answers that clients have not taken.", totals.response_obj_bytes);
    let logins = [("granted", totals.auth_cmds.saturating_sub(totals.auth_errors)), ("refused", totals.auth_errors)];
    page.counters("logins_total", "Logins.", "result", &logins);
}

fn commands(page: &mut Page, totals: &Totals) {
    page.family("commands_total", "counter", "Requests; each key of a get is one.");
    for (command, result, value) in [
        ("get", "hit", totals.get_hits),
        ("get", "miss", totals.get_misses),
        ("touch", "hit", totals.touch_hits),
        ("touch", "miss", totals.touch_misses),
        ("delete", "hit", totals.delete_hits),
        ("delete", "miss", totals.delete_misses),
        ("incr", "hit", totals.incr_hits),
        ("incr", "miss", totals.incr_misses),
        ("decr", "hit", totals.decr_hits),
        ("decr", "miss", totals.decr_misses),
        ("cas", "hit", totals.cas_hits),
        ("cas", "miss", totals.cas_misses),
        ("cas", "badval", totals.cas_badval),
        ("set", "any", totals.cmd_set),
        ("flush_all", "any", totals.cmd_flush),
        ("meta_debug", "any", totals.cmd_meta),
    ] {
        page.sample("commands_total", &[("command", command), ("result", result)], value);
    }
    let dead = [("expired", totals.get_expired), ("flushed", totals.get_flushed)];
    page.counters("dead_reads_total", "Reads of items that had expired or been flushed.", "reason", &dead);
    let refused = [("too_large", totals.store_too_large), ("no_memory", totals.store_no_memory)];
    page.counters("stores_refused_total", "Values that were refused.", "reason", &refused);
}

fn memory(page: &mut Page, daemon: &Daemon, totals: &Totals) {
    let footprint = daemon.store.footprint();
    page.gauge("items", "Items stored now.", totals.curr_items);
    page.counter("items_stored_total", "Items ever stored.", totals.total_items);
    page.gauge("items_bytes", "Bytes of items: header, key, value.", totals.bytes);
    page.gauge("memory_limit_bytes", "Memory for items.", daemon.store.memory_len());
    page.gauge("index_bytes", "Bytes of the index.", footprint.index_len);
    page.gauge("page_bytes", "Bytes of a page.", footprint.page_len);
    page.family("pages", "gauge", "Pages, by who has them.");
    page.sample("pages", &[("owner", "classes")], footprint.used_pages);
    page.sample("pages", &[("owner", "pool")], footprint.free_pages);
    page.counter("evictions_total", "Items evicted to make room.", totals.evictions);
    page.counter("reclaimed_total", "Chunks won from dead items when room was needed.", totals.reclaimed);
    let unread = [("evicted", totals.evicted_unfetched), ("expired", totals.expired_unfetched)];
    page.counters("unread_items_total", "Items gone that nobody had read.", "reason", &unread);
}

fn background(page: &mut Page, daemon: &Daemon, totals: &Totals) {
    let chores = daemon.store.chores();
    page.counter("pages_moved_total", "Pages moved from class to class.", totals.slabs_moved);
    page.gauge("page_moving", "Whether an operator's page is being moved.", u8::from(chores.moving));
    page.counter(
        "rescued_items_total",
        "Live items moved out of pages that were emptied.",
        totals.slab_reassign_rescues,
    );
    page.gauge("crawling", "Whether a crawl is under way.", u8::from(chores.crawling));
    page.counter("crawls_total", "Crawls begun.", totals.lru_crawler_starts);
    page.counter("crawled_items_total", "Items looked at in the background.", totals.crawler_items_checked);
    page.counter("crawled_dead_items_total", "Dead items removed in the background.", totals.crawler_reclaimed);
    let moves = [("cold", totals.moves_to_cold), ("warm", totals.moves_to_warm), ("same", totals.moves_within_lru)];
    page.counters("queue_moves_total", "Items moved between queues, or within one.", "to", &moves);
}

/// Name, help, and what a class has to say to it.
type ClassFamily = (&'static str, &'static str, fn(&ClassSummary) -> u64);

/// Of classes that have pages.
fn by_class(page: &mut Page, classes: &[ClassSummary], counted: &ClassSums) {
    let active = || classes.iter().filter(|class| class.pages > 0);
    let gauges: [ClassFamily; 5] = [
        ("class_chunk_bytes", "Bytes of a chunk.", |class| class.chunk_len as u64),
        ("class_pages", "Pages.", |class| class.pages.into()),
        ("class_chunks_used", "Chunks in use.", |class| class.used_chunks.into()),
        ("class_items", "Items.", |class| class.items().into()),
        ("class_items_bytes", "Bytes of items.", |class| class.bytes),
    ];
    for (name, help, value) in gauges {
        page.family(name, "gauge", help);
        active().for_each(|class| page.sample(name, &[("class", &class.id.number().to_string())], value(class)));
    }
    let counters: [ClassFamily; 3] = [
        ("class_evictions_total", "Items evicted.", |class| class.counts.evicted),
        ("class_out_of_memory_total", "Times that no chunk was to be had.", |class| class.counts.outofmemory),
        ("class_reclaimed_total", "Chunks won from dead items.", |class| class.counts.reclaimed),
    ];
    for (name, help, value) in counters {
        page.family(name, "counter", help);
        active().for_each(|class| page.sample(name, &[("class", &class.id.number().to_string())], value(class)));
    }
    for (name, help, event) in [
        ("class_get_hits_total", "Reads that found an item.", None),
        ("class_sets_total", "Values to be stored.", Some(ClassEvent::Set)),
    ] {
        page.family(name, "counter", help);
        for class in active() {
            let number = class.id.number();
            let counted = &counted[usize::from(number)];
            let value = event.map_or_else(|| class_hits(counted), |event| counted[event as usize]);
            page.sample(name, &[("class", &number.to_string())], value);
        }
    }
}

/// Histograms, by powers of two from a microsecond to eight seconds: an eighth of the steps that there are.
fn latency(page: &mut Page, timing: &Timing) {
    const NAME: &str = "request_duration_seconds";
    page.family(NAME, "histogram", "From the poll that brought a request to its answer's handing over to the kernel.");
    for (command, kind) in timing.kinds() {
        let sums: Vec<u64> = kind.cumulated().collect();
        for bucket in (0..BUCKETS).skip(7).step_by(8).take(24) {
            let end = secs(bucket_end_ns(bucket), 1_000_000_000);
            page.sample(&format!("{NAME}_bucket"), &[("command", command), ("le", &end)], sums[bucket]);
        }
        let count = kind.count();
        page.sample(&format!("{NAME}_bucket"), &[("command", command), ("le", "+Inf")], count);
        page.sample(&format!("{NAME}_sum"), &[("command", command)], secs(kind.sum_ns(), 1_000_000_000));
        page.sample(&format!("{NAME}_count"), &[("command", command)], count);
    }
}
