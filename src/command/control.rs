//! The administrator's knobs: what is asked of the maintainer, how much memory there may be, and that certificates be read again.

use super::{Context, DumpForm, MaintainCommand, Outcome, Shutdown, WireError};
use crate::limits::{MEMORY_LEN_MIN, TURN_COPIED_MAX};
use crate::settings::Background;
use crate::store::{ClassSet, CrawlRefused, Dump, ReassignRefused};
use crate::sys::process;
use crate::tls::TlsError;

/// `slabs`, `lru_crawler`.
pub(super) fn maintain(cx: &Context<'_>, command: MaintainCommand) -> Outcome<'static> {
    let done = match command {
        MaintainCommand::Reassign(classes) => reassign(cx, classes),
        MaintainCommand::Crawl(classes) => crawl(cx, classes),
        MaintainCommand::EnableCrawler if cx.daemon.store.background().crawler => Err(WireError::CrawlerRunning),
        MaintainCommand::CrawlerSleep(us) if us > Background::CRAWLER_SLEEP_US_MAX => Err(WireError::CrawlerSleep),
        MaintainCommand::AutomoveWindow(rounds) if !Background::WINDOWS.contains(&rounds) => {
            Err(WireError::AutomoveWindow)
        }
        knob => {
            cx.daemon.store.tune_background(|background| turn(background, knob));
            Ok(())
        }
    };
    done.map_or_else(Outcome::Refused, |()| Outcome::Done)
}

fn turn(background: &mut Background, knob: MaintainCommand) {
    match knob {
        MaintainCommand::Automove(level) => background.automove = level,
        MaintainCommand::AutomoveRatio(ratio) => background.automove_ratio = ratio.into(),
        MaintainCommand::AutomoveWindow(rounds) => background.automove_window = rounds,
        MaintainCommand::EnableCrawler => background.crawler = true,
        MaintainCommand::DisableCrawler => background.crawler = false,
        MaintainCommand::CrawlerSleep(us) => background.crawler_sleep_us = us,
        MaintainCommand::CrawlerToCrawl(items) => background.crawler_tocrawl = items,
        MaintainCommand::Reassign(_) | MaintainCommand::Crawl(_) => {}
    }
}

fn reassign(cx: &Context<'_>, classes: Option<(i32, i32)>) -> Result<(), WireError> {
    if !cx.daemon.store.background().reassign {
        return Err(WireError::ReassignDisabled);
    }
    let (from, to) = classes.ok_or(WireError::BadCommandLine)?;
    cx.daemon.store.ask_reassign(from, to).map_err(|refused| match refused {
        ReassignRefused::Busy => WireError::ReassignBusy,
        ReassignRefused::BadClass => WireError::ReassignBadClass,
        ReassignRefused::NoSpare => WireError::ReassignNoSpare,
        ReassignRefused::Same => WireError::ReassignSame,
    })
}

fn crawl(cx: &Context<'_>, classes: Option<ClassSet>) -> Result<(), WireError> {
    if !cx.daemon.store.background().crawler {
        return Err(WireError::CrawlerDisabled);
    }
    let classes = classes.ok_or(WireError::CrawlBadClass)?;
    cx.daemon.store.ask_crawl(classes, cx.now).map_err(crawl_refused)
}

/// Begins a dump.
///
/// # Errors
/// Why there is none.
pub fn dump(cx: &Context<'_>, form: DumpForm, classes: Option<ClassSet>) -> Result<Dump, WireError> {
    if !cx.daemon.store.background().crawler {
        return Err(WireError::CrawlerDisabled);
    }
    if !cx.daemon.settings.dumps {
        return Err(match form {
            DumpForm::Meta => WireError::DumpDisabled,
            DumpForm::Keys => WireError::KeyDumpDisabled,
        });
    }
    let classes = classes.ok_or(WireError::CrawlBadClass)?;
    cx.daemon.store.begin_dump(classes, cx.now).map_err(crawl_refused)
}

fn crawl_refused(refused: CrawlRefused) -> WireError {
    match refused {
        CrawlRefused::Busy => WireError::CrawlBusy,
        CrawlRefused::BadClass => WireError::CrawlBadClass,
        CrawlRefused::Nothing => WireError::CrawlNothing,
    }
}

/// `shutdown`: the daemon is told by a signal to itself, as by memcached, so that it ends as by one from elsewhere.
pub(super) fn shutdown(cx: &Context<'_>, how: Option<Shutdown>) -> Outcome<'static> {
    if !cx.daemon.settings.shutdown {
        return Outcome::Refused(WireError::ShutdownDisabled);
    }
    let Some(how) = how else { return Outcome::Refused(WireError::ShutdownMode) };
    log::warn!("shutdown: told so by a client");
    process::stop_this(how == Shutdown::Gracefully);
    Outcome::Close
}

/// `debugtime`, `debugitem`.
#[cfg(feature = "debug-commands")]
pub(super) fn debug(cx: &mut Context<'_>, command: super::DebugCommand<'_>) -> Outcome<'static> {
    use super::DebugCommand::{Jump, Lock, Pause, Pin, Resume, Unlock, Unpin};
    let (store, clock, now) = (&cx.daemon.store, &cx.daemon.clock, cx.now);
    let keyed = |key| (store.hash(key), key);
    let found = match command {
        Jump(secs) => {
            clock.jump(secs);
            true
        }
        Pause => {
            clock.pause();
            true
        }
        Resume => {
            clock.resume();
            true
        }
        Lock(key) => store.debug_lock(cx.local, keyed(key), now),
        Unlock(key) => store.debug_unlock(store.hash(key)),
        Pin(key) => store.debug_pin(cx.local, keyed(key), now),
        Unpin(key) => store.debug_unpin(store.hash(key)),
    };
    // What follows in this turn is of the time that it is now.
    cx.now = clock.now();
    if found { Outcome::Done } else { Outcome::Refused(WireError::DebugMiss) }
}

/// `cache_memlimit`.
pub(super) fn memory_limit(cx: &Context<'_>, mb: u64) -> Outcome<'static> {
    let refused = match mb {
        _ if mb < MEMORY_LEN_MIN >> 20 => WireError::MemoryLimitTooSmall,
        _ if mb > MEMORY_MB_MAX => WireError::MemoryLimitInBytes,
        // What was made resident at the start, to stay so, is not given back.
        _ if !cx.daemon.settings.prefault && cx.daemon.store.set_memory_len(mb << 20) => return Outcome::Done,
        _ => WireError::MemoryLimitOutOfBounds,
    };
    Outcome::Refused(refused)
}

/// More megabytes than this are taken for bytes, as by memcached.
const MEMORY_MB_MAX: u64 = 1_000_000_000;

/// `refresh_certs`. What is wrong with which file is told in the log: a client needs to know no more than which kind it is.
pub(super) fn refresh_certs(cx: &mut Context<'_>) -> Outcome<'static> {
    let Some(tls) = &cx.daemon.tls else { return Outcome::Refused(WireError::TlsDisabled) };
    if cx.daemon.settings.process.drop_privileges {
        // A worker may not open files then, but it may ask for it.
        tls.ask_reload();
        return Outcome::Done;
    }
    // A key takes its time to be read: one for each turn of a client.
    cx.local.note_work(TURN_COPIED_MAX);
    match tls.reload(cx.now.tick) {
        Ok(()) => Outcome::Done,
        Err(why) => {
            log::error!("refresh_certs: {why}; certificates and key stay as they were");
            Outcome::Refused(match why {
                TlsError::Chain(_) => WireError::TlsChain,
                TlsError::Key(_) | TlsError::Ciphers(_) => WireError::TlsKey,
                TlsError::ClientCa(_) => WireError::TlsClientCa,
            })
        }
    }
}
