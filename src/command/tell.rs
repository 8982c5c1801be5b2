//! What watchers are told of commands, in memcached's way: a command that names a key looks it up, and says so, whatever else it does; one that
//! stores says what came of that; one that deletes says what it has deleted.
//!
//! Only where somebody watches is anything done here: the key is looked up once more, before and behind the command.

use super::{Context, StoreRequest, StoreVerb, WireError};
use crate::events::{About, Event, Kinds, Status, Verb};
use crate::store::{Deadline, Hash, Stored};

/// Tells that a command looks a key up.
#[inline]
pub(super) fn fetch(cx: &Context<'_>, key: (Hash, &[u8])) {
    if cx.local.stats.log.wants(Kinds::FETCHERS) {
        tell_fetch(cx, key);
    }
}

#[cold]
fn tell_fetch(cx: &Context<'_>, key: (Hash, &[u8])) {
    let (status, about) = cx.daemon.store.peek(key, cx.now);
    cx.local.stats.log.note(Event::Get(key.1, status, about));
}

/// Tells what came of storing, if that is watched.
#[inline]
pub(super) fn stored(cx: &Context<'_>, hash: Hash, request: StoreRequest<'_>, result: Result<Stored, WireError>) {
    if cx.local.stats.log.wants(Kinds::MUTATIONS) {
        tell_stored(cx, hash, request, Deadline::from_exptime(request.exptime, cx.now), result);
    }
}

/// The same of a value that was received: its deadline was known before it came.
pub(super) fn received(
    cx: &Context<'_>,
    hash: Hash,
    (request, deadline): (StoreRequest<'_>, Deadline),
    result: Result<Stored, WireError>,
) {
    if cx.local.stats.log.wants(Kinds::MUTATIONS) {
        tell_stored(cx, hash, request, deadline, result);
    }
}

#[cold]
fn tell_stored(
    cx: &Context<'_>,
    hash: Hash,
    request: StoreRequest<'_>,
    asked: Deadline,
    result: Result<Stored, WireError>,
) {
    let StoreRequest { verb, key, flags, value_len, .. } = request;
    let status = match result {
        Ok(Stored::Stored | Stored::StoredStale) => Status::Stored,
        Ok(Stored::NotStored) => Status::NotStored,
        Ok(Stored::Exists) => Status::Exists,
        Ok(Stored::NotFound) => Status::NotFound,
        Err(WireError::TooLarge) => Status::TooLarge,
        Err(_) => Status::NoMemory,
    };
    let about = match (status, cx.daemon.store.peek((hash, key), cx.now)) {
        (Status::Stored, (Status::Found, about)) => about,
        // What was not stored, and what is dead already, is told of as it was asked for.
        _ => {
            let class = cx.daemon.store.class_number_for(key.len(), value_len, flags);
            About { class, value_len, ttl: asked.secs_left(cx.now) }
        }
    };
    let verb = match verb {
        StoreVerb::Set | StoreVerb::Lease(_) => Verb::Set,
        StoreVerb::Add => Verb::Add,
        StoreVerb::Replace => Verb::Replace,
        StoreVerb::Append => Verb::Append,
        StoreVerb::Prepend => Verb::Prepend,
        StoreVerb::Cas(_) | StoreVerb::CasOrStale(_) => Verb::Cas,
    };
    cx.local.stats.log.note(Event::Store(key, status, verb, about));
}

/// What is about to be deleted, if that is watched.
#[inline]
pub(super) fn before_delete(cx: &Context<'_>, key: (Hash, &[u8])) -> Option<About> {
    cx.local.stats.log.wants(Kinds::DELETIONS).then(|| cx.daemon.store.peek(key, cx.now).1)
}

/// Tells that it has been.
#[cold]
pub(super) fn deleted(cx: &Context<'_>, key: &[u8], verb: Verb, about: About) {
    cx.local.stats.log.note(Event::Deleted(key, verb, about));
}

/// Tells that a count, which found nothing, has made an item.
#[inline]
pub(super) fn made(cx: &Context<'_>, (hash, key): (Hash, &[u8]), exptime: i64, value_len: usize) {
    let request = StoreRequest { verb: StoreVerb::Add, key, flags: 0, exptime, value_len };
    stored(cx, hash, request, Ok(Stored::Stored));
}
