//! What the meta commands do.
//!
//! Each of them is a set of conditions and changes rather than a verb: its flags say which. What is the protocol's alone (which
//! flags were asked to be told, in which order) is not here; what must happen in order is in [`Lifetimes`].

use super::execute::{NotCounted, add, count_refusal, note_key, refused_count};
use super::{Context, Count, Direction, Initial, WireError, tell};
use crate::events::Verb;
use crate::stats::{ClassEvent, KeyUse};
use crate::store::{Deadline, Draft, Hash, Invalidation, Lifetimes, Marks, MetaView, Reading, Receipt, Step, Stored};

/// One meta command without its key. (`ms` is a [`StoreRequest`](super::StoreRequest) with [`StoreTerms`].)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaCommand {
    /// mg
    Get(MetaGet),
    /// md
    Delete(MetaDelete),
    /// ma
    Count(MetaCount),
    /// me
    Debug,
}

/// Read an item, and what is known of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaGet {
    /// The value is wanted...
    pub value: bool,
    /// ...unless the item has this CAS number.
    pub known: Option<u64>,
    /// The item is not to count as used.
    pub unnoticed: bool,
    /// What is done with its lifetime.
    pub lifetimes: Lifetimes,
    /// The CAS number of an item that is made.
    pub cas: Option<u64>,
    /// The key was given in base64.
    pub key_is_base64: bool,
}

/// Remove an item, or make it worth less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaDelete {
    /// If it has this CAS number.
    pub compare: Option<u64>,
    /// The CAS number of what is left.
    pub cas: Option<u64>,
    /// Leave the item, without its value.
    pub empty: bool,
    /// Leave the item, and call it stale.
    pub stale: bool,
    /// The lifetime of what is left, as the client wrote it.
    pub exptime: Option<i64>,
}

/// Count up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaCount {
    /// Up or down.
    pub direction: Direction,
    /// By how much.
    pub delta: u64,
    /// The number of an item that is made.
    pub initial: u64,
    /// If it has this CAS number.
    pub compare: Option<u64>,
    /// The CAS number it is given.
    pub cas: Option<u64>,
    /// What is done with its lifetime.
    pub lifetimes: Lifetimes,
    /// The key was given in base64.
    pub key_is_base64: bool,
}

/// Under which terms a value is stored, beside the verb's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreTerms {
    /// append, prepend: if the item has this CAS number.
    pub compare: Option<u64>,
    /// The CAS number it is given.
    pub cas: Option<u64>,
    /// append, prepend: a key that is not there is stored.
    pub or_create: bool,
    /// The key was given in base64.
    pub key_is_base64: bool,
}

impl StoreTerms {
    pub(super) fn marks(&self) -> Marks {
        marks(self.key_is_base64)
    }
}

/// What came of a meta command.
#[derive(Debug)]
pub enum MetaOutcome<'a> {
    /// mg: found, or made.
    Hit(MetaView<'a>),
    /// mg, me: not found.
    Miss,
    /// me: found.
    Debug(MetaView<'a>),
    /// md: done.
    Done,
    /// md, ma: not found.
    NotFound,
    /// md, ma: another CAS number.
    Exists,
    /// ma: counted; what was written then.
    Counted(u64, Receipt),
    /// ma: made, with this number.
    Made(u64, Receipt),
    /// Refused.
    Refused(WireError),
}

/// Does what a meta command says.
#[inline]
pub fn execute_meta<R>(
    cx: &mut Context<'_>,
    key: (Hash, &[u8]),
    command: &MetaCommand,
    with: impl FnOnce(MetaOutcome<'_>) -> R,
) -> R {
    // What counts says so itself.
    if !matches!(command, MetaCommand::Count(_)) {
        tell::fetch(cx, key);
    }
    match command {
        MetaCommand::Get(get) if get.lifetimes.vivify().is_none() => read(cx, key, get, with),
        MetaCommand::Get(get) => read_or_make(cx, key, get, with),
        MetaCommand::Delete(delete) => with(remove(cx, key, delete)),
        MetaCommand::Count(count) => with(self::count(cx, key, count)),
        MetaCommand::Debug => debug(cx, key, with),
    }
}

fn marks(key_is_base64: bool) -> Marks {
    if key_is_base64 { Marks::KEY_BASE64 } else { Marks::NONE }
}

#[inline]
fn reading(get: &MetaGet) -> Reading {
    let MetaGet { value, known, unnoticed, lifetimes, .. } = *get;
    Reading { lifetimes, value, known, unnoticed, ..Reading::default() }
}

#[inline]
fn read<R>(cx: &mut Context<'_>, key: (Hash, &[u8]), get: &MetaGet, with: impl FnOnce(MetaOutcome<'_>) -> R) -> R {
    let mut hit = false;
    let result = cx.daemon.store.read(cx.local, key, cx.now, &reading(get), |view| match view {
        Some(view) => {
            hit = true;
            with(MetaOutcome::Hit(view))
        }
        None => with(MetaOutcome::Miss),
    });
    count_read(cx, key.1, get, hit);
    result
}

fn read_or_make<R>(
    cx: &mut Context<'_>,
    key: (Hash, &[u8]),
    get: &MetaGet,
    with: impl FnOnce(MetaOutcome<'_>) -> R,
) -> R {
    let (reading, marks) = (reading(get), marks(get.key_is_base64));
    let mut with = Some(with);
    loop {
        let found = cx.daemon.store.read(cx.local, key, cx.now, &reading, |view| {
            view.map(|view| with.take().expect("told once")(MetaOutcome::Hit(view)))
        });
        if let Some(result) = found {
            count_read(cx, key.1, get, true);
            return result;
        }
        let made = cx.daemon.store.vivify(cx.local, key, cx.now, &reading, (get.cas, marks));
        let outcome = match made {
            Ok(Some(receipt)) => MetaOutcome::Hit(MetaView::made(key.1, marks, receipt, get.value)),
            // Somebody has made it meanwhile.
            Ok(None) => continue,
            Err(refused) => {
                count_refusal(cx, refused);
                MetaOutcome::Miss
            }
        };
        count_read(cx, key.1, get, matches!(outcome, MetaOutcome::Hit(_)));
        return with.take().expect("told once")(outcome);
    }
}

/// As memcached counts: a hit that gets a new lifetime is a touch and no get.
#[inline]
fn count_read(cx: &Context<'_>, key: &[u8], get: &MetaGet, hit: bool) {
    note_key(cx, key, KeyUse::Get { hit });
    let stats = &cx.local.stats;
    if hit && get.lifetimes.touches() {
        stats.cmd_touch.add(1);
        stats.touch_hits.add(1);
    } else {
        stats.cmd_get.add(1);
        if hit { &stats.get_hits } else { &stats.get_misses }.add(1);
    }
}

fn debug<R>(cx: &mut Context<'_>, key: (Hash, &[u8]), with: impl FnOnce(MetaOutcome<'_>) -> R) -> R {
    cx.local.stats.cmd_meta.add(1);
    describe(cx, key, |view| with(view.map_or(MetaOutcome::Miss, MetaOutcome::Debug)))
}

/// All that is known of an item but its value, without using it.
pub(super) fn describe<R>(cx: &mut Context<'_>, key: (Hash, &[u8]), with: impl FnOnce(Option<MetaView<'_>>) -> R) -> R {
    let mut lifetimes = Lifetimes::default();
    lifetimes.push(Step::Show);
    let reading = Reading { lifetimes, unnoticed: true, unclaimed: true, place: true, ..Reading::default() };
    cx.daemon.store.read(cx.local, key, cx.now, &reading, with)
}

fn remove(cx: &mut Context<'_>, key: (Hash, &[u8]), delete: &MetaDelete) -> MetaOutcome<'static> {
    let MetaDelete { compare, cas, empty, stale, exptime } = *delete;
    let store = &cx.daemon.store;
    let leaves = empty || stale;
    let about = if leaves { None } else { tell::before_delete(cx, key) };
    let removed = if leaves {
        // A lifetime is for what is stale; what is only emptied keeps its own.
        let deadline = exptime.filter(|_| stale).map(|exptime| Deadline::from_exptime(exptime, cx.now));
        store.invalidate(cx.local, key, Invalidation { compare, cas, empty, stale, deadline }, cx.now)
    } else {
        Ok(store.remove(cx.local, key, compare, cx.now))
    };
    note_key(cx, key.1, KeyUse::Delete);
    let stats = &cx.local.stats;
    match removed {
        Ok(Stored::Exists) => {
            stats.delete_misses.add(1);
            MetaOutcome::Exists
        }
        Ok(Stored::NotFound) => {
            stats.delete_misses.add(1);
            MetaOutcome::NotFound
        }
        Ok(_) => {
            if !leaves {
                stats.delete_hits.add(1);
                stats.classes.note(cx.local.last_class(), ClassEvent::DeleteHit);
            }
            if let Some(about) = about {
                tell::deleted(cx, key.1, Verb::MetaDelete, about);
            }
            MetaOutcome::Done
        }
        Err(refused) => {
            count_refusal(cx, refused);
            MetaOutcome::Refused(WireError::OutOfMemoryIncr)
        }
    }
}

fn count(cx: &mut Context<'_>, key: (Hash, &[u8]), count: &MetaCount) -> MetaOutcome<'static> {
    let MetaCount { direction, delta, compare, cas, lifetimes, .. } = *count;
    let initial = lifetimes.vivify().map(|exptime| Initial { number: count.initial, exptime });
    let plain = Count { direction, delta, compare, initial };
    loop {
        match add(cx, key, &plain, (cas, lifetimes)) {
            Ok(Some(number)) => return MetaOutcome::Counted(number, cx.local.last_written()),
            Ok(None) if initial.is_none() => return MetaOutcome::NotFound,
            Ok(None) => {}
            Err(NotCounted::Changed) => return MetaOutcome::Exists,
            Err(not_counted) => return MetaOutcome::Refused(refused_count(cx, not_counted)),
        }
        let draft = Draft { cas, marks: marks(count.key_is_base64), ..Draft::new(key, 0, Deadline::NEVER) };
        let mut text = itoa::Buffer::new();
        let text = text.format(count.initial).as_bytes();
        match cx.daemon.store.create(cx.local, draft, lifetimes, text, cx.now) {
            Ok(Some(receipt)) => {
                tell::made(cx, key, initial.map_or(0, |initial| initial.exptime), text.len());
                return MetaOutcome::Made(count.initial, receipt);
            }
            // Somebody has made it meanwhile.
            Ok(None) => {}
            Err(refused) => return MetaOutcome::Refused(count_refusal(cx, refused)),
        }
    }
}
