//! The one executor: what each command does, for whatever protocol.
//!
//! An answer that borrows from the store exists only under its bucket's lock, so outcomes are handed to a closure, which
//! encodes them there and then.

use super::{
    Command, Context, Count, Direction, Initial, LruCommand, Outcome, StoreRequest, StoreTerms, StoreVerb, WireError,
    arithmetic, control, meta, observe, tell,
};
use crate::events::{Kinds, Verb};
use crate::settings::LruTuning;
use crate::stats::{ClassEvent, KeyUse};
use crate::store::{Condition, Deadline, Draft, Hash, Leased, Lifetimes, Refused, Reservation, Side, Stored, Terms};
use arrayvec::ArrayVec;
use log::LevelFilter;

/// Does what a command says. What stores needs its value, and is none: see [`store_whole`] and [`begin_store`].
/// `hash` must be the key's, if the command has one.
#[inline]
pub fn execute<R>(cx: &mut Context<'_>, hash: Hash, command: Command<'_>, with: impl FnOnce(Outcome<'_>) -> R) -> R {
    match command {
        Command::Get { key, touch } => get(cx, (hash, key), touch, with),
        Command::EndOfKeys => with(Outcome::EndOfKeys),
        Command::Lease { key } => lease(cx, (hash, key), with),
        Command::Describe { key } => {
            meta::describe(cx, (hash, key), |view| with(view.map_or(Outcome::EndOfKeys, Outcome::Described)))
        }
        other => with(rare(cx, hash, other)),
    }
}

/// Reads one key; hands on a hit under its lock.
#[inline]
pub fn get<R>(cx: &mut Context<'_>, key: (Hash, &[u8]), touch: Option<i64>, with: impl FnOnce(Outcome<'_>) -> R) -> R {
    tell::fetch(cx, key);
    let deadline = touch.map(|exptime| Deadline::from_exptime(exptime, cx.now));
    let mut hit = false;
    let result = cx.daemon.store.get(cx.local, key, cx.now, deadline, |view| match view {
        Some(view) => {
            hit = true;
            with(Outcome::Hit(view))
        }
        None => with(Outcome::Miss),
    });
    let stats = &cx.local.stats;
    if touch.is_some() {
        // A touch and no get, as memcached counts it.
        stats.cmd_touch.add(1);
        if hit { &stats.touch_hits } else { &stats.touch_misses }.add(1);
    } else {
        stats.cmd_get.add(1);
        if hit { &stats.get_hits } else { &stats.get_misses }.add(1);
    }
    note_key(cx, key.1, KeyUse::Get { hit });
    result
}

/// Says that a key has been used.
#[inline(always)]
pub(super) fn note_key(cx: &Context<'_>, key: &[u8], what: KeyUse) {
    cx.local.stats.note_key(what, key, cx.now.tick.secs());
}

/// Counts a storage request whose data arrived whole, by the class of its item as well.
#[inline(always)]
fn note_set(cx: &Context<'_>, key: &[u8]) {
    cx.local.stats.classes.note(cx.local.last_class(), ClassEvent::Set);
    note_key(cx, key, KeyUse::Set);
}

/// Gives an item a new lifetime, and hands it on as a hit, under its lock: a touch, and no get.
pub fn touch<R>(cx: &mut Context<'_>, key: (Hash, &[u8]), exptime: i64, with: impl FnOnce(Outcome<'_>) -> R) -> R {
    tell::fetch(cx, key);
    let deadline = Deadline::from_exptime(exptime, cx.now);
    let mut hit = false;
    let result = cx.daemon.store.get(cx.local, key, cx.now, Some(deadline), |view| {
        hit = view.is_some();
        with(view.map_or(Outcome::Miss, Outcome::Hit))
    });
    let stats = &cx.local.stats;
    stats.cmd_touch.add(1);
    if hit { &stats.touch_hits } else { &stats.touch_misses }.add(1);
    note_key(cx, key.1, KeyUse::Other);
    result
}

/// Stores a value that is at hand.
// Always: with a call site for each protocol the compiler would call it, at some 5 % of a set's instructions.
#[inline(always)]
pub fn store_whole(cx: &mut Context<'_>, hash: Hash, request: StoreRequest<'_>, value: &[u8]) -> Outcome<'static> {
    cx.local.stats.cmd_set.add(1);
    tell::fetch(cx, (hash, request.key));
    let terms = StoreTerms::default();
    let stored = match plan(request.verb) {
        Plan::Put(condition) => {
            let draft = draft(cx, hash, request, &terms);
            cx.daemon.store.put(cx.local, draft, condition, value, cx.now)
        }
        Plan::Extend(side) => extend(cx, hash, (request, &terms), side, value),
    };
    tell(cx, hash, request, stored)
}

/// The same, on terms.
pub fn store_on_terms(
    cx: &mut Context<'_>,
    hash: Hash,
    (request, terms): (StoreRequest<'_>, &StoreTerms),
    value: &[u8],
) -> Outcome<'static> {
    cx.local.stats.cmd_set.add(1);
    tell::fetch(cx, (hash, request.key));
    let stored = match plan(request.verb) {
        Plan::Put(condition) => {
            let draft = draft(cx, hash, request, terms);
            cx.daemon.store.put_apart(cx.local, draft, condition, value, cx.now)
        }
        Plan::Extend(side) => extend(cx, hash, (request, terms), side, value),
    };
    tell(cx, hash, request, stored)
}

// As `store_whole`, and for the same reason.
#[inline(always)]
fn tell(
    cx: &mut Context<'_>,
    hash: Hash,
    request: StoreRequest<'_>,
    stored: Result<Stored, Refused>,
) -> Outcome<'static> {
    match stored {
        Ok(stored) => {
            note_set(cx, request.key);
            tell::stored(cx, hash, request, Ok(stored));
            told(cx, request.verb, stored)
        }
        Err(refused) => {
            let error = refuse(cx, hash, request, refused);
            refusal(request.verb, error)
        }
    }
}

fn extend(
    cx: &mut Context<'_>,
    hash: Hash,
    (request, terms): (StoreRequest<'_>, &StoreTerms),
    side: Side,
    value: &[u8],
) -> Result<Stored, Refused> {
    let store = &cx.daemon.store;
    loop {
        let extended = store.extend(cx.local, (hash, request.key), side, value, extension(terms), cx.now);
        if !terms.or_create || extended != Ok(Stored::NotStored) {
            return extended;
        }
        let draft = draft(cx, hash, request, terms);
        let created = store.put_apart(cx.local, draft, Condition::Absent, value, cx.now);
        // Not stored means that somebody else has created it in between.
        if created != Ok(Stored::NotStored) {
            return created;
        }
    }
}

fn extension(terms: &StoreTerms) -> Terms {
    Terms { compare: terms.compare, cas: terms.cas }
}

/// A refused append or prepend says NOT_STORED, as memcached's does, and leaves the value; the others say why.
fn refusal(verb: StoreVerb, error: WireError) -> Outcome<'static> {
    match plan(verb) {
        Plan::Extend(_) => Outcome::NotStored,
        Plan::Put(_) => Outcome::Refused(error),
    }
}

/// Reserves a chunk for a value that is to come.
///
/// # Errors
/// Why the value is not wanted; it comes all the same and must be skipped.
pub fn begin_store(
    cx: &mut Context<'_>,
    hash: Hash,
    (request, terms): (StoreRequest<'_>, &StoreTerms),
) -> Result<Reservation, WireError> {
    let draft = draft(cx, hash, request, terms);
    cx.daemon
        .store
        .reserve(cx.local, draft, request.value_len, cx.now)
        .map_err(|refused| refuse(cx, hash, request, refused))
}

/// Makes sure that there is room for more of a value that is coming.
///
/// # Errors
/// Why the rest of it is not wanted; it comes all the same and must be skipped.
pub fn grow_store(cx: &mut Context<'_>, reservation: &mut Reservation, verb: StoreVerb) -> Result<(), WireError> {
    let grown = cx.daemon.store.grow(cx.local, reservation, cx.now);
    grown.map_err(|refused| {
        if is_better_gone(verb) {
            let (hash, key) = (reservation.hash(), reservation.key());
            cx.daemon.store.delete(cx.local, (hash, &key), cx.now);
        }
        count_refusal(cx, refused)
    })
}

/// Stores a value that has come.
pub fn finish_store(
    cx: &mut Context<'_>,
    mut reservation: Reservation,
    verb: StoreVerb,
    terms: &StoreTerms,
) -> Outcome<'static> {
    cx.local.stats.cmd_set.add(1);
    let key = reservation.key();
    let watched = cx.local.stats.log.is_watched(Kinds::ALL).then(|| (reservation.value_len(), reservation.deadline()));
    let hash = reservation.hash();
    if watched.is_some() {
        tell::fetch(cx, (hash, &key));
    }
    let stored = match plan(verb) {
        Plan::Put(condition) => cx.daemon.store.commit(cx.local, reservation, condition, cx.now),
        Plan::Extend(side) => {
            let how = (side, terms.or_create);
            cx.daemon.store.commit_extension(cx.local, reservation, how, extension(terms), cx.now)
        }
    };
    let result = stored.map_err(|refused| count_refusal(cx, refused));
    if let Some((value_len, deadline)) = watched {
        let request = StoreRequest { verb, key: &key, flags: 0, exptime: 0, value_len };
        tell::received(cx, hash, (request, deadline), result);
    }
    match result {
        Ok(stored) => {
            note_set(cx, &key);
            told(cx, verb, stored)
        }
        Err(error) => refusal(verb, error),
    }
}

enum Plan {
    Put(Condition),
    Extend(Side),
}

fn plan(verb: StoreVerb) -> Plan {
    match verb {
        StoreVerb::Set => Plan::Put(Condition::Always),
        StoreVerb::Add => Plan::Put(Condition::Absent),
        StoreVerb::Replace => Plan::Put(Condition::Present),
        StoreVerb::Cas(cas) => Plan::Put(Condition::Cas(cas)),
        StoreVerb::CasOrStale(cas) => Plan::Put(Condition::CasOrStale(cas)),
        StoreVerb::Lease(token) => Plan::Put(Condition::Leased(token)),
        StoreVerb::Append => Plan::Extend(Side::Append),
        StoreVerb::Prepend => Plan::Extend(Side::Prepend),
    }
}

fn draft<'k>(cx: &Context<'_>, hash: Hash, request: StoreRequest<'k>, terms: &StoreTerms) -> Draft<'k> {
    let deadline = Deadline::from_exptime(request.exptime, cx.now);
    Draft { cas: terms.cas, marks: terms.marks(), ..Draft::new((hash, request.key), request.flags, deadline) }
}

fn told(cx: &Context<'_>, verb: StoreVerb, stored: Stored) -> Outcome<'static> {
    if let StoreVerb::Cas(_) | StoreVerb::CasOrStale(_) = verb {
        let (stats, class) = (&cx.local.stats, cx.local.last_class());
        match stored {
            Stored::Stored | Stored::StoredStale => {
                stats.cas_hits.add(1);
                stats.classes.note(class, ClassEvent::CasHit);
            }
            Stored::Exists => {
                stats.cas_badval.add(1);
                stats.classes.note(class, ClassEvent::CasBadval);
            }
            Stored::NotStored | Stored::NotFound => stats.cas_misses.add(1),
        }
    }
    match stored {
        Stored::Stored => Outcome::Stored,
        Stored::StoredStale => Outcome::StoredStale,
        Stored::NotStored => Outcome::NotStored,
        Stored::Exists => Outcome::Exists,
        Stored::NotFound => Outcome::NotFound,
    }
}

/// Whether a value is to go if another that was to replace it is refused: better none than a stale one, as for memcached.
fn is_better_gone(verb: StoreVerb) -> bool {
    verb == StoreVerb::Set
}

/// Counts a refusal, and removes what is better gone.
#[cold]
fn refuse(cx: &mut Context<'_>, hash: Hash, request: StoreRequest<'_>, refused: Refused) -> WireError {
    if is_better_gone(request.verb) {
        cx.daemon.store.delete(cx.local, (hash, request.key), cx.now);
    }
    let error = count_refusal(cx, refused);
    tell::stored(cx, hash, request, Err(error));
    error
}

pub(super) fn count_refusal(cx: &Context<'_>, refused: Refused) -> WireError {
    match refused {
        Refused::TooLarge => {
            cx.local.stats.store_too_large.add(1);
            WireError::TooLarge
        }
        Refused::NoMemory => {
            cx.local.stats.store_no_memory.add(1);
            WireError::OutOfMemory
        }
    }
}

/// Everything but get and the storage verbs.
fn rare(cx: &mut Context<'_>, hash: Hash, command: Command<'_>) -> Outcome<'static> {
    if !cx.admin && command.is_administrative() {
        return Outcome::Refused(WireError::UnknownCommand);
    }
    match command {
        Command::Delete { key } => delete(cx, (hash, key), None),
        Command::Arithmetic { key, direction, delta } => {
            count(cx, (hash, key), Count { direction, delta, compare: None, initial: None })
        }
        Command::Touch { key, exptime } => touch(cx, (hash, key), exptime, |outcome| match outcome {
            Outcome::Hit(_) => Outcome::Touched,
            _ => Outcome::NotFound,
        }),
        Command::FlushAll { delay } => flush_all(cx, delay),
        Command::Noop => Outcome::Noop,
        Command::Version => Outcome::Version,
        Command::Verbosity { level } => verbosity(level),
        Command::Stats(topic) => observe::stats(cx, topic),
        Command::Lru(change) => lru(cx, change),
        Command::Maintain(command) => control::maintain(cx, command),
        Command::MemoryLimit { mb } => control::memory_limit(cx, mb),
        Command::RefreshCerts => control::refresh_certs(cx),
        #[cfg(feature = "debug-commands")]
        Command::Debug(command) => control::debug(cx, command),
        Command::Shutdown(how) => control::shutdown(cx, how),
        Command::Quit | Command::Abort => Outcome::Close,
        Command::Refused(error) => Outcome::Refused(error),
        Command::Get { .. }
        | Command::EndOfKeys
        | Command::Lease { .. }
        | Command::Describe { .. }
        | Command::Stream(_) => {
            unreachable!("reading and streams have their own ways")
        }
    }
}

fn lease<R>(cx: &mut Context<'_>, key: (Hash, &[u8]), with: impl FnOnce(Outcome<'_>) -> R) -> R {
    tell::fetch(cx, key);
    let mut with = Some(with);
    let mut hit = false;
    let result = cx.daemon.store.lease(cx.local, key, cx.now, |leased| {
        hit = matches!(leased, Leased::Fresh(_));
        with.take().expect("told once")(Outcome::Leased(leased))
    });
    let stats = &cx.local.stats;
    stats.cmd_get.add(1);
    if hit { &stats.get_hits } else { &stats.get_misses }.add(1);
    note_key(cx, key.1, KeyUse::Get { hit });
    result.unwrap_or_else(|refused| {
        let error = count_refusal(cx, refused);
        with.take().expect("told once")(Outcome::Refused(error))
    })
}

/// Removes a key, if it has the CAS number that may be named.
pub fn delete(cx: &mut Context<'_>, key: (Hash, &[u8]), compare: Option<u64>) -> Outcome<'static> {
    tell::fetch(cx, key);
    let about = tell::before_delete(cx, key);
    let removed = match compare {
        // Whatever is there, a lease as well.
        None if cx.daemon.store.delete(cx.local, key, cx.now) => Stored::Stored,
        None => Stored::NotFound,
        Some(_) => cx.daemon.store.remove(cx.local, key, compare, cx.now),
    };
    note_key(cx, key.1, KeyUse::Delete);
    match removed {
        Stored::Stored | Stored::StoredStale => {
            cx.local.stats.delete_hits.add(1);
            cx.local.stats.classes.note(cx.local.last_class(), ClassEvent::DeleteHit);
            if let Some(about) = about {
                tell::deleted(cx, key.1, Verb::Delete, about);
            }
            Outcome::Deleted
        }
        Stored::Exists => Outcome::Exists,
        Stored::NotFound | Stored::NotStored => {
            cx.local.stats.delete_misses.add(1);
            Outcome::NotFound
        }
    }
}

/// Why a count did not happen, beside there being no item.
pub(super) enum NotCounted {
    /// It has another CAS number.
    Changed,
    NoNumber,
    Refused(Refused),
}

impl From<Refused> for NotCounted {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Counts up or down, or begins to count.
pub fn count(cx: &mut Context<'_>, key: (Hash, &[u8]), count: Count) -> Outcome<'static> {
    loop {
        let outcome = count_once(cx, key, count);
        let (Outcome::NotFound, Some(initial)) = (&outcome, count.initial) else { return outcome };
        match begin_count(cx, key, initial) {
            // Somebody else has made it in between.
            Outcome::NotStored => {}
            begun => return begun,
        }
    }
}

/// Makes an item of a number, if there is none; what `incr` finds missing and makes is counted as neither hit nor miss.
fn begin_count(cx: &mut Context<'_>, key: (Hash, &[u8]), initial: Initial) -> Outcome<'static> {
    let draft = Draft::new(key, 0, Deadline::from_exptime(initial.exptime, cx.now));
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(initial.number);
    match cx.daemon.store.put_apart(cx.local, draft, Condition::Absent, digits.as_bytes(), cx.now) {
        Ok(Stored::Stored) => {
            tell::made(cx, key, initial.exptime, digits.len());
            Outcome::Number(initial.number)
        }
        Ok(_) => Outcome::NotStored,
        Err(refused) => Outcome::Refused(count_refusal(cx, refused)),
    }
}

fn count_once(cx: &mut Context<'_>, key: (Hash, &[u8]), count: Count) -> Outcome<'static> {
    match add(cx, key, &count, (None, Lifetimes::default())) {
        Ok(Some(number)) => Outcome::Number(number),
        Ok(None) => Outcome::NotFound,
        Err(NotCounted::Changed) => Outcome::Exists,
        Err(not_counted) => Outcome::Refused(refused_count(cx, not_counted)),
    }
}

/// Adds to a number that is there, or takes away, and counts that as a hit or, unless a number is to be made then, as a miss: the number
/// now. With it the item may get a CAS number of the client's and another lifetime.
pub(super) fn add(
    cx: &mut Context<'_>,
    key: (Hash, &[u8]),
    count: &Count,
    given: (Option<u64>, Lifetimes),
) -> Result<Option<u64>, NotCounted> {
    let Count { direction, delta, compare, initial } = *count;
    tell::fetch(cx, key);
    let counted = cx.daemon.store.rewrite(cx.local, key, given, cx.now, |value, cas| {
        // An empty value is no number whatever its CAS number is, as for memcached.
        if !value.is_empty() && compare.is_some_and(|compare| compare != cas) {
            return Err(NotCounted::Changed);
        }
        let counted = arithmetic::apply(value, direction, delta).map_err(|_| NotCounted::NoNumber)?;
        let digits = ArrayVec::try_from(counted.digits()).expect("64 bits have at most 20 digits");
        Ok((digits, counted.number()))
    })?;
    let stats = &cx.local.stats;
    let (hits, misses, event) = match direction {
        Direction::Up => (&stats.incr_hits, &stats.incr_misses, ClassEvent::IncrHit),
        Direction::Down => (&stats.decr_hits, &stats.decr_misses, ClassEvent::DecrHit),
    };
    note_key(cx, key.1, KeyUse::Other);
    match counted {
        Some(_) => {
            hits.add(1);
            stats.classes.note(cx.local.last_class(), event);
        }
        None => misses.add(u64::from(initial.is_none())),
    }
    Ok(counted)
}

pub(super) fn refused_count(cx: &Context<'_>, not_counted: NotCounted) -> WireError {
    match not_counted {
        NotCounted::Changed | NotCounted::NoNumber => WireError::NonNumericValue,
        NotCounted::Refused(refused) => {
            count_refusal(cx, refused);
            WireError::OutOfMemoryIncr
        }
    }
}

fn flush_all(cx: &mut Context<'_>, delay: i64) -> Outcome<'static> {
    if !cx.daemon.settings.flush {
        return Outcome::Refused(WireError::FlushDisabled);
    }
    cx.local.stats.cmd_flush.add(1);
    cx.daemon.store.flush_all(cx.local, cx.now, Deadline::from_exptime(delay.max(0), cx.now));
    Outcome::Done
}

fn verbosity(level: u32) -> Outcome<'static> {
    log::set_max_level(match level {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    });
    Outcome::Done
}

fn lru(cx: &Context<'_>, change: LruCommand) -> Outcome<'static> {
    let store = &cx.daemon.store;
    let (_, tuning) = store.lru();
    match change {
        LruCommand::Mode(mode) => store.set_lru_mode(mode),
        LruCommand::TempTtl(temporary_ttl) => store.set_lru_tuning(LruTuning { temporary_ttl, ..tuning }),
        LruCommand::Tune { hot_pct, warm_pct, hot_max_factor, warm_max_factor } => {
            let (hot_max_factor, warm_max_factor) = (hot_max_factor.into(), warm_max_factor.into());
            let tuning = LruTuning { hot_pct, warm_pct, hot_max_factor, warm_max_factor, ..tuning };
            if !tuning.are_shares_sound() {
                return Outcome::Refused(WireError::LruShares);
            }
            if !tuning.is_sound() {
                return Outcome::Refused(WireError::LruFactors);
            }
            store.set_lru_tuning(tuning);
        }
    }
    Outcome::Done
}
