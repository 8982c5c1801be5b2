//! `-o`: what memcached has put into one option, and `lru_mode`, which is ours.

use super::accepted::accepted;
use super::flags::{bad, number};
use crate::limits::{LOG_KB_MAX, LOG_KB_MIN, PAGE_LEN_MAX, chunk_names_pieces};
use crate::settings::{
    Automove, Background, ClassSizes, ClientCerts, ListenTls, LruMode, LruTuning, ProcessSettings, Settings,
    TlsSettings,
};
use std::time::Duration;

/// One `-o` list; and what should be said about it.
pub(super) fn extended(list: &str, settings: &mut Settings, warnings: &mut Vec<String>) -> Result<(), String> {
    const OPTION: &str = "-o/--extended";
    for item in list.split(',').filter(|item| !item.is_empty()) {
        // A value behind a mere switch is not looked at, as by memcached.
        let item = match item.split_once('=') {
            Some((name, _)) if SWITCHES.contains(&name) => name,
            _ => item,
        };
        match item.split_once('=') {
            Some(("idle_timeout", typed)) => {
                let secs: u32 = number(&format!("{OPTION} idle_timeout"), typed, 0, i32::MAX.unsigned_abs())?;
                settings.idle_timeout = (secs > 0).then(|| Duration::from_secs(secs.into()));
            }
            None if item == "idle_timeout" => return Err(bad(OPTION, item, "needs seconds: idle_timeout=60")),
            Some((name, typed)) if lru_option(name, typed, settings)? => {}
            Some((name, typed)) if background_option(name, typed, settings)? => {}
            Some((name, typed)) if tls_option(name, typed, &mut settings.tls)? => {}
            None if tls_switch(item, &mut settings.tls) => {}
            None if background_switch(item, &mut settings.background) => {}
            None if item == "track_sizes" => settings.track_sizes = true,
            None if item == "no_lru_maintainer" => settings.lru = LruMode::Flat,
            None if item == "no_modern" => {
                (settings.lru, settings.maxconns_fast) = (LruMode::Flat, false);
                let background = &mut settings.background;
                (background.reassign, background.automove, background.crawler) = (false, Automove::Off, false);
            }
            None if item == "lru_maintainer" && settings.lru == LruMode::Flat => settings.lru = LruMode::default(),
            None if item == "lru_maintainer" => {}
            None if LRU_OPTIONS.contains(&item)
                || BACKGROUND_OPTIONS.contains(&item)
                || TLS_OPTIONS.contains(&item) =>
            {
                return Err(bad(OPTION, item, "needs a value"));
            }
            None if process_switch(item, &mut settings.process) => {}
            // What it once switched on is what there is.
            None if item == "modern" => {}
            None if item == "maxconns_fast" => settings.maxconns_fast = true,
            None if item == "no_maxconns_fast" => settings.maxconns_fast = false,
            _ if accepted(item, warnings)? => {}
            _ => return Err(bad(OPTION, item, "is not known")),
        }
    }
    if !settings.lru_tuning.are_shares_sound() {
        let (hot, warm) = (settings.lru_tuning.hot_pct, settings.lru_tuning.warm_pct);
        let why = format!("must not be more than {} together", LruTuning::PCT_MAX);
        return Err(bad(&format!("{OPTION} hot_lru_pct, warm_lru_pct"), &format!("{hot}, {warm}"), &why));
    }
    Ok(())
}

/// Those that have no value. (`slab_automove` may have one.)
const SWITCHES: [&str; 15] = [
    "lru_maintainer",
    "no_lru_maintainer",
    "slab_reassign",
    "no_slab_reassign",
    "no_slab_automove",
    "lru_crawler",
    "no_lru_crawler",
    "maxconns_fast",
    "no_maxconns_fast",
    "modern",
    "no_modern",
    "track_sizes",
    "drop_privileges",
    "no_drop_privileges",
    "relaxed_privileges",
];

/// Those of the queues that have a value.
const LRU_OPTIONS: [&str; 6] =
    ["lru_mode", "hot_lru_pct", "warm_lru_pct", "hot_max_factor", "warm_max_factor", "temporary_ttl"];

/// Sets one of them; whether the name is among them.
fn lru_option(name: &str, typed: &str, settings: &mut Settings) -> Result<bool, String> {
    let option = format!("-o/--extended {name}");
    let tuning = &mut settings.lru_tuning;
    let pct = || number(&option, typed, 1, LruTuning::PCT_MAX - 1);
    let factor = || match typed.parse::<f64>() {
        Ok(factor) if factor > 0.0 => Ok(factor),
        _ => Err(bad(&option, typed, "must be a number above 0")),
    };
    match name {
        "lru_mode" => settings.lru = lru_mode(&option, typed)?,
        "hot_lru_pct" => tuning.hot_pct = pct()?,
        "warm_lru_pct" => tuning.warm_pct = pct()?,
        "hot_max_factor" => tuning.hot_max_factor = factor()?,
        "warm_max_factor" => tuning.warm_max_factor = factor()?,
        "temporary_ttl" => tuning.temporary_ttl = Some(number(&option, typed, 0, i32::MAX.unsigned_abs())?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn lru_mode(option: &str, typed: &str) -> Result<LruMode, String> {
    match typed {
        "flat" => Ok(LruMode::Flat),
        "segmented" => Ok(LruMode::Segmented),
        "s3fifo" => Ok(LruMode::S3Fifo),
        _ => Err(bad(option, typed, "must be flat, segmented or s3fifo")),
    }
}

/// Those of the maintainer and of pages that have a value. (`slab_automove` may do without.)
const BACKGROUND_OPTIONS: [&str; 8] = [
    "slab_automove_ratio",
    "slab_automove_window",
    "lru_crawler_sleep",
    "lru_crawler_tocrawl",
    "slab_chunk_max",
    "slab_sizes",
    "worker_logbuf_size",
    "watcher_logbuf_size",
];

/// Sets one of them; whether the name is among them.
fn background_option(name: &str, typed: &str, settings: &mut Settings) -> Result<bool, String> {
    let option = format!("-o/--extended {name}");
    let background = &mut settings.background;
    match name {
        "slab_automove" => {
            let level = number(&option, typed, 0, 2)?;
            background.automove = Automove::from_number(level).expect("0 to 2 are levels");
        }
        "slab_automove_ratio" => match typed.parse::<f64>() {
            Ok(ratio) if ratio > 0.0 && ratio <= 1.0 => background.automove_ratio = ratio,
            _ => return Err(bad(&option, typed, "must be a number above 0 and at most 1")),
        },
        "slab_automove_window" => {
            let (min, max) = Background::WINDOWS.into_inner();
            background.automove_window = number(&option, typed, min, max)?;
        }
        "lru_crawler_sleep" => {
            background.crawler_sleep_us = number(&option, typed, 0, Background::CRAWLER_SLEEP_US_MAX)?;
        }
        "lru_crawler_tocrawl" => background.crawler_tocrawl = number(&option, typed, 0, u32::MAX)?,
        "slab_chunk_max" => settings.classes.chunk_max = Some(number(&option, typed, 1, PAGE_LEN_MAX)? << 10),
        "slab_sizes" => settings.classes.listed = listed(&option, typed, &settings.classes)?,
        "worker_logbuf_size" => settings.logs.worker = number(&option, typed, LOG_KB_MIN, LOG_KB_MAX)? << 10,
        "watcher_logbuf_size" => settings.logs.watcher = number(&option, typed, LOG_KB_MIN, LOG_KB_MAX)? << 10,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Sizes of chunks with dashes between them, by memcached's rules.
fn listed(option: &str, typed: &str, classes: &ClassSizes) -> Result<Vec<usize>, String> {
    let chunk_max = classes.chunk_max.unwrap_or(ClassSizes::CHUNK_MAX);
    let mut lens: Vec<usize> = Vec::new();
    for typed in typed.split('-') {
        let len = number(option, typed, ClassSizes::CHUNK_MIN, chunk_max)?;
        let step = ClassSizes::STEP_MIN;
        if lens.last().is_some_and(|&before| len <= before + step) {
            return Err(bad(option, typed, &format!("must be more than {step} above the one before it")));
        }
        lens.push(len);
    }
    let count_max = ClassSizes::COUNT_MAX;
    if lens.len() > count_max {
        return Err(bad(option, typed, &format!("has more than {count_max} sizes")));
    }
    Ok(lens)
}

/// Sets what has no value; whether there is such a switch.
fn background_switch(name: &str, background: &mut Background) -> bool {
    match name {
        "slab_reassign" => background.reassign = true,
        "no_slab_reassign" => background.reassign = false,
        "slab_automove" => background.automove = Automove::Normal,
        "no_slab_automove" => background.automove = Automove::Off,
        "lru_crawler" => background.crawler = true,
        "no_lru_crawler" => background.crawler = false,
        _ => return false,
    }
    true
}

/// Those of TLS that have a value.
const TLS_OPTIONS: [&str; 8] = [
    "ssl_chain_cert",
    "ssl_key",
    "ssl_keyformat",
    "ssl_verify_mode",
    "ssl_ciphers",
    "ssl_ca_cert",
    "ssl_wbuf_size",
    "ssl_min_version",
];

/// Sets one of them; whether the name is among them.
fn tls_option(name: &str, typed: &str, tls: &mut TlsSettings) -> Result<bool, String> {
    let option = format!("-o/--extended {name}");
    if TLS_OPTIONS.contains(&name) && typed.is_empty() {
        return Err(bad(&option, typed, "must not be empty"));
    }
    match name {
        "ssl_chain_cert" => tls.chain_cert = Some(typed.into()),
        "ssl_key" => tls.key = Some(typed.into()),
        "ssl_ca_cert" => tls.ca_cert = Some(typed.into()),
        "ssl_ciphers" => tls.ciphers = Some(typed.to_owned()),
        "ssl_keyformat" => tls.key_is_der = number(&option, typed, 1, 2)? == 2,
        "ssl_verify_mode" => tls.verify_mode = number(&option, typed, 0, 3)?,
        "ssl_wbuf_size" => tls.wbuf_kb = number(&option, typed, 0, 1 << 20)?,
        // Their mere names switch them on; a value is not looked at, as by memcached.
        "ssl_session_cache" | "ssl_kernel_tls" => return Ok(tls_switch(name, tls)),
        "ssl_min_version" => tls.min_version = number(&option, typed, 0, TlsSettings::TLS_1_3)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Sets what has no value; whether there is such a switch.
fn tls_switch(name: &str, tls: &mut TlsSettings) -> bool {
    match name {
        "ssl_session_cache" => tls.session_cache = true,
        "ssl_kernel_tls" => tls.kernel_tls = true,
        _ => return false,
    }
    true
}

/// Sets what concerns the whole process; whether there is such a switch.
fn process_switch(name: &str, process: &mut ProcessSettings) -> bool {
    match name {
        "drop_privileges" => process.drop_privileges = true,
        "no_drop_privileges" => process.drop_privileges = false,
        "relaxed_privileges" => process.relaxed_privileges = true,
        _ => return false,
    }
    true
}

/// What does not go together with TLS, or not without it, and what is taken without effect.
pub(super) fn check_tls(settings: &Settings, warnings: &mut Vec<String>) -> Result<(), String> {
    let (tls, defaults) = (&settings.tls, TlsSettings::default());
    if !tls.is_on {
        if settings.listen_tls.values().any(|tls| *tls != ListenTls::Without) {
            return Err("-l/--listen: btls: or mtls: needs -Z/--enable-ssl".to_owned());
        }
        return Ok(());
    }
    if settings.listen.is_empty() {
        return Err("-Z/--enable-ssl: You cannot enable SSL without a TCP port.".to_owned());
    }
    let asks = |addr| settings.tls_at(addr).is_some_and(|asked| asked != ClientCerts::Ignored);
    if tls.ca_cert.is_none() && settings.listen.iter().any(asks) {
        let why =
            "ssl_verify_mode or mtls: asks for clients' certificates, and there is no ssl_ca_cert to judge them by";
        return Err(format!("-o/--extended ssl_ca_cert: {why}"));
    }
    for (is_idle, option, why) in [
        (tls.kernel_tls, "ssl_kernel_tls", "records are sealed in the process"),
        (tls.wbuf_kb != defaults.wbuf_kb, "ssl_wbuf_size", "connections share their worker's buffer"),
        (tls.min_version < TlsSettings::TLS_1_2, "ssl_min_version", "TLS 1.2 is the oldest there is"),
    ] {
        if is_idle {
            warnings.push(format!("-o/--extended {option}: has no effect: {why}"));
        }
    }
    Ok(())
}

/// memcached's rules for the largest chunk, and ours: the head of a value in pieces must have room for their names.
pub(super) fn check_chunk_max(settings: &Settings) -> Result<(), String> {
    let Some(chunk_max) = settings.classes.chunk_max else { return Ok(()) };
    let item_len = settings.item_len_max;
    let refuse = |why: &str| Err(bad("-o/--extended slab_chunk_max", &(chunk_max >> 10).to_string(), why));
    if chunk_max > item_len {
        return refuse(&format!("must not be more than -I/--max-item-size, which is {} KB", item_len >> 10));
    }
    if !item_len.is_multiple_of(chunk_max) {
        return refuse(&format!("must divide -I/--max-item-size, which is {} KB, without a rest", item_len >> 10));
    }
    if !PAGE_LEN_MAX.is_multiple_of(chunk_max) {
        return refuse(&format!("must divide a page, which is {} KB, without a rest", PAGE_LEN_MAX >> 10));
    }
    if !chunk_names_pieces(chunk_max, item_len) {
        return refuse("is too short to name all pieces of an item as long as -I/--max-item-size allows");
    }
    Ok(())
}
