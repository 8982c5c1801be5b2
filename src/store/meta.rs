//! What the meta commands and leases ask of the store beyond reading and storing: an item is read together with what is known of
//! it, told to be stale, emptied; and of all who find a value stale, about to expire or missing, one is told to make a new one.
//!
//! ```text
//!                   recache time or stale, read          stored
//!   (nothing noted) ────────────────────────► TOKEN_SENT ──────► (nothing noted)
//!        │  ▲                                  ▲      │
//!        │  └── stored              read: wins │      │ told to be stale
//!        └───── told to be stale ──► STALE ────┘ ◄────┘        with a lower CAS number: stored, STALE | TOKEN_SENT stay
//!
//!   (no item) ──lease──► LEASE | TOKEN_SENT: no item to anybody but the lease verbs ──stored──► (nothing noted)
//! ```
//!
//! The marks lie beside the slot's tag ([`Marks`]) and change under the bucket's lock only, so exactly one client wins however many
//! ask at once. An ordinary store clears them.

use super::arena::ItemId;
use super::expiry::Moment;
use super::hash::Hash;
use super::item::{Chunk, Linked};
use super::table::{BucketGuard, Marks, Slot};
use super::write::{Condition, Draft, Place as ItemPlace, Refused, Stored};
use super::{Deadline, Inner, Local, Store, Value, View};
use crate::clock::{Now, Tick};
use crate::limits::{LEASE_SECS, LEASE_TAKEN};

/// One thing a meta command does with a lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Gives it a new one.
    Touch(i64),
    /// Gives it one if the command has made the item.
    Vivify(i64),
    /// Wins the refill if less than this is left of it.
    Recache(i64),
    /// Looks how much is left of it.
    Show,
}

/// What a meta command does with a lifetime, in the order asked, each thing once. Times are as the client wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes {
    touch: i64,
    vivify: i64,
    recache: i64,
    /// Three bits for each step, the first lowest.
    order: u16,
    /// How many there are: 0 to 4.
    len: u16,
}

const STEP_BITS: u16 = 3;
const STEP_MASK: u16 = (1 << STEP_BITS) - 1;
const TOUCH: u16 = 1;
const VIVIFY: u16 = 2;
const RECACHE: u16 = 3;
const SHOW: u16 = 4;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lived {
    pub(super) deadline: Deadline,
    /// Seconds that were left when it was asked; none inside for no end.
    pub(super) shown: Option<u32>,
    pub(super) recaches: bool,
}

impl Lifetimes {
    /// One more step. Each kind at most once.
    #[inline]
    pub fn push(&mut self, step: Step) {
        let (kind, time, place) = match step {
            Step::Touch(time) => (TOUCH, time, &mut self.touch),
            Step::Vivify(time) => (VIVIFY, time, &mut self.vivify),
            Step::Recache(time) => (RECACHE, time, &mut self.recache),
            Step::Show => (SHOW, 0, &mut 0),
        };
        *place = time;
        self.order |= kind << (self.len * STEP_BITS);
        self.len += 1;
    }

    /// The lifetime of an item that the command is to make if there is none.
    #[must_use]
    pub fn vivify(&self) -> Option<i64> {
        self.has(VIVIFY).then_some(self.vivify)
    }

    /// Whether the item gets a new lifetime.
    #[must_use]
    pub fn touches(&self) -> bool {
        self.has(TOUCH)
    }

    fn has(&self, kind: u16) -> bool {
        self.steps().any(|step| step == kind)
    }

    fn steps(&self) -> impl Iterator<Item = u16> + use<> {
        let order = self.order;
        (0..self.len).map(move |at| order >> (at * STEP_BITS) & STEP_MASK)
    }

    /// Does it to an item with this deadline, `created` by the same command or not.
    #[inline]
    pub(super) fn apply(&self, deadline: Deadline, created: bool, now: Now) -> Lived {
        let mut lived = Lived { deadline, shown: None, recaches: false };
        if self.len == 0 {
            return lived;
        }
        for step in self.steps() {
            match step {
                TOUCH => lived.deadline = Deadline::from_exptime(self.touch, now),
                VIVIFY if created => lived.deadline = Deadline::from_exptime(self.vivify, now),
                RECACHE if !created => {
                    lived.recaches = lived.deadline != Deadline::NEVER
                        && lived.deadline.0 < Deadline::from_exptime(self.recache, now).0;
                }
                SHOW => lived.shown = lived.deadline.secs_left(now),
                _ => {}
            }
        }
        lived
    }
}

impl Deadline {
    /// Whole seconds until then, begun ones included; none for never.
    #[must_use]
    pub fn secs_left(self, now: Now) -> Option<u32> {
        (self != Self::NEVER).then(|| self.0.saturating_sub(now.tick_up.0).div_ceil(Tick::PER_SEC))
    }
}

/// What an item was given when it was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Its CAS number, 0 with `-C`.
    pub cas: u64,
    /// Bytes of its value.
    pub value_len: usize,
    /// Seconds that it has left, if that was asked and there is an end.
    pub ttl: Option<u32>,
}

/// How an item is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// What is done with its lifetime.
    pub lifetimes: Lifetimes,
    /// Its value is wanted...
    pub value: bool,
    /// ...unless it has this CAS number.
    pub known: Option<u64>,
    /// It is not to count as read.
    pub unnoticed: bool,
    /// Nobody is to win its refill.
    pub unclaimed: bool,
    /// Where it lies is wanted.
    pub place: bool,
}

/// An item with what is known of it, as it was before it was read.
#[derive(Debug)]
pub struct MetaView<'a> {
    /// The item; its value only if that was wanted.
    pub item: View<'a>,
    /// Bytes of its value.
    pub value_len: usize,
    /// Whether the value was wanted, and is there.
    pub has_value: bool,
    /// Has been read before.
    pub is_fetched: bool,
    /// Seconds since it was last used.
    pub idle_secs: u32,
    /// Seconds it has left; none for no end, or if it was not asked.
    pub ttl: Option<u32>,
    /// What was noted on it.
    pub marks: Marks,
    /// The reader is the one to make a new value.
    pub wins: bool,
    /// Where it lies, if that was asked.
    pub place: Option<Place>,
}

/// Where an item lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of its class.
    pub class: u8,
    /// Bytes it takes.
    pub item_len: usize,
}

impl<'a> MetaView<'a> {
    /// An item that its reader has just made, and is to fill.
    #[must_use]
    pub fn made(key: &'a [u8], marks: Marks, receipt: Receipt, has_value: bool) -> Self {
        let item = View { key, flags: 0, cas: receipt.cas, value: Value::Borrowed(&[]) };
        let (value_len, ttl) = (0, receipt.ttl);
        Self {
            item,
            value_len,
            has_value,
            is_fetched: false,
            idle_secs: 0,
            ttl,
            marks: marks.only(Marks::KEY_BASE64),
            wins: true,
            place: None,
        }
    }
}

/// How an item is to be made worth less than it was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Invalidation {
    /// If it has this CAS number.
    pub compare: Option<u64>,
    /// The CAS number it is given, if the client chooses it.
    pub cas: Option<u64>,
    /// Without its value and flags.
    pub empty: bool,
    /// Stale from now on, and the refill to be won anew.
    pub stale: bool,
    /// With this lifetime.
    pub deadline: Option<Deadline>,
}

/// What came of asking for a lease.
#[derive(Debug)]
pub enum Leased<'a> {
    /// A value as good as any.
    Fresh(View<'a>),
    /// A stale value, or an empty one in place of none. The token says who makes a new one: the asker, or (none) somebody else.
    Wanted(Option<u64>, View<'a>),
}

impl Store {
    /// Looks a key up as [`Store::get`] does, and hands on all that is known of it.
    #[inline]
    pub fn read<R>(
        &self,
        local: &mut Local,
        (hash, key): (Hash, &[u8]),
        now: Now,
        reading: &Reading,
        with: impl FnOnce(Option<MetaView<'_>>) -> R,
    ) -> R {
        let inner = &*self.inner;
        let guard = inner.table.lock(hash);
        let Some(slot) = inner.find(&guard, hash, key) else {
            drop(guard);
            return with(None);
        };
        let (id, at) = (slot.id(), inner.moment(now));
        if let Some(death) = inner.death(id, at) {
            inner.bury_read(local, guard, slot, death);
            return with(None);
        }
        let (header, meta) = (inner.arena.header(id), slot.meta());
        if meta.has(Marks::LEASE) {
            drop(guard);
            return with(None);
        }
        let lived = reading.lifetimes.apply(Deadline(header.deadline()), false, now);
        if lived.deadline.0 != header.deadline() {
            inner.set_deadline(id, lived.deadline);
        }
        let wins = !reading.unclaimed && !meta.has(Marks::TOKEN_SENT) && (lived.recaches || meta.has(Marks::STALE));
        if wins {
            slot.set_meta(meta.with(Marks::TOKEN_SENT));
        }
        let idle_secs = at.age_secs(header.access());
        if !reading.unclaimed {
            inner.count_read(&local.stats, id, reading.lifetimes.touches());
        }
        if !reading.unnoticed {
            inner.note_read(slot, id, at);
        }
        let has_value = reading.value && !reading.known.is_some_and(|known| inner.has_cas(id, Some(known)));
        let item = if has_value { self.view(&guard, id) } else { self.view_without_value(&guard, id) };
        with(Some(MetaView {
            item,
            value_len: header.value_len(),
            has_value,
            is_fetched: meta.is_fetched(),
            idle_secs,
            ttl: lived.shown,
            marks: meta.marks(),
            wins,
            place: reading.place.then(|| inner.place_of(id)),
        }))
    }

    /// Makes an item without a value for a key that has none, for its maker to fill; what it was given, or none if there is an
    /// item by now.
    ///
    /// # Errors
    /// [`Refused`] if there is no room.
    pub fn vivify(
        &self,
        local: &mut Local,
        key: (Hash, &[u8]),
        now: Now,
        reading: &Reading,
        (cas, marks): (Option<u64>, Marks),
    ) -> Result<Option<Receipt>, Refused> {
        let lived = reading.lifetimes.apply(Deadline::NEVER, true, now);
        let fetched = if reading.unnoticed { Marks::NONE } else { Marks::FETCHED };
        let marks = marks.and(Marks::TOKEN_SENT).and(fetched);
        let draft = Draft { cas, marks, ..Draft::new(key, 0, lived.deadline) };
        let stored = self.put_apart(local, draft, Condition::Absent, b"", now)?;
        Ok((stored == Stored::Stored).then_some(Receipt { ttl: lived.shown, ..local.last }))
    }

    /// Stores a value for a key that has none, with a lifetime as for an item that is made.
    ///
    /// # Errors
    /// [`Refused`] if there is no room.
    pub fn create(
        &self,
        local: &mut Local,
        draft: Draft<'_>,
        lifetimes: Lifetimes,
        value: &[u8],
        now: Now,
    ) -> Result<Option<Receipt>, Refused> {
        let lived = lifetimes.apply(Deadline::NEVER, true, now);
        let stored =
            self.put_apart(local, Draft { deadline: lived.deadline, ..draft }, Condition::Absent, value, now)?;
        Ok((stored == Stored::Stored).then_some(Receipt { ttl: lived.shown, ..local.last }))
    }

    /// Removes a key if it has this CAS number (any, if none is named).
    pub fn remove(&self, local: &mut Local, key: (Hash, &[u8]), compare: Option<u64>, now: Now) -> Stored {
        let inner = &*self.inner;
        let guard = inner.table.lock(key.0);
        let Some(slot) = inner.find(&guard, key.0, key.1) else { return Stored::NotFound };
        if !inner.is_alive(slot, inner.moment(now)) {
            // To whoever has a lease on it this says that what he has read may be out of date.
            inner.bury(local, guard, slot);
            return Stored::NotFound;
        }
        if !inner.has_cas(slot.id(), compare) {
            return Stored::Exists;
        }
        inner.bury(local, guard, slot);
        Stored::Stored
    }

    /// Leaves an item where it is, but makes it worth less.
    ///
    /// # Errors
    /// [`Refused`] if the chunk for an empty item is not to be had; the item stays as it was.
    pub fn invalidate(
        &self,
        local: &mut Local,
        (hash, key): (Hash, &[u8]),
        how: Invalidation,
        now: Now,
    ) -> Result<Stored, Refused> {
        let inner = &*self.inner;
        let ItemPlace { shape, class, .. } = inner.place_for(key.len(), 0, 0)?;
        let mut spare: Option<Chunk> = None;
        let result = loop {
            let guard = inner.table.lock(hash);
            let at = inner.moment(now);
            let Some(slot) = inner.find(&guard, hash, key) else { break Ok(Stored::NotFound) };
            if !inner.is_alive(slot, at) {
                // As for a delete: a lease ends.
                inner.bury(local, guard, slot);
                break Ok(Stored::NotFound);
            }
            let id = slot.id();
            if !inner.has_cas(id, how.compare) {
                break Ok(Stored::Exists);
            }
            let draft = how.draft(inner.draft_of(slot, (hash, key), how.cas));
            if !how.empty {
                inner.set_deadline(id, draft.deadline);
                let old_cas = inner.arena.cas(id);
                inner.renew_cas(local, id, old_cas, draft.cas);
                inner.recount_length(&local.stats, id, old_cas, (0, 0));
                slot.set_meta(slot.meta().without(Marks::TOKEN_SENT.and(Marks::STALE)).with(draft.marks));
                break Ok(Stored::Stored);
            }
            if inner.fits_in_place(slot, class, 0) {
                let header = inner.arena.header(id);
                let old_len = header.value_len();
                header.set_value_len(0);
                header.set_flags(0);
                inner.set_deadline(id, draft.deadline);
                inner.changed_in_place(local, slot, &draft, (0, old_len), at);
                local.stats.total_items.add(1);
                break Ok(Stored::Stored);
            }
            if let Some(mut chunk) = inner.usable(spare.take(), class) {
                inner.body(&mut chunk)[..key.len()].copy_from_slice(key);
                return inner.link(local, guard, Some(slot), chunk, shape, &draft, at).map(|()| Stored::Stored);
            }
            match inner.chunk_beside(local, guard, slot, class, now) {
                Ok(chunk) => spare = Some(chunk),
                Err(refused) => break Err(refused),
            }
        };
        inner.give_back(spare);
        result
    }

    /// Reads a key; if there is no good value, one asker is given the lease to make one, and for some seconds nobody else is.
    ///
    /// # Errors
    /// [`Refused`] if there is no room to note the lease.
    pub fn lease<R>(
        &self,
        local: &mut Local,
        (hash, key): (Hash, &[u8]),
        now: Now,
        with: impl FnOnce(Leased<'_>) -> R,
    ) -> Result<R, Refused> {
        let inner = &*self.inner;
        let nothing = View { key, flags: 0, cas: 0, value: Value::Borrowed(&[]) };
        loop {
            let guard = inner.table.lock(hash);
            let at = inner.moment(now);
            let found = inner.find(&guard, hash, key).filter(|slot| !inner.is_dead(slot.id(), at));
            if let Some(slot) = found {
                let (id, meta) = (slot.id(), slot.meta());
                if meta.has(Marks::LEASE) {
                    drop(guard);
                    return Ok(with(Leased::Wanted(None, nothing)));
                }
                let wins = !meta.has(Marks::TOKEN_SENT);
                if meta.has(Marks::STALE) {
                    // A client may have chosen a number that says that somebody else has the lease.
                    if wins && inner.arena.has_cas() && inner.arena.cas(id) <= LEASE_TAKEN {
                        inner.renew_cas(local, id, LEASE_TAKEN, None);
                    }
                    slot.set_meta(meta.with(Marks::TOKEN_SENT));
                }
                let token = wins.then(|| inner.arena.cas(id));
                inner.count_read(&local.stats, id, false);
                inner.note_read(slot, id, at);
                let view = self.view(&guard, id);
                return Ok(with(if meta.has(Marks::STALE) {
                    Leased::Wanted(token, view)
                } else {
                    Leased::Fresh(view)
                }));
            }
            drop(guard);
            let deadline = Deadline::from_exptime(LEASE_SECS, now);
            let marks = Marks::LEASE.and(Marks::TOKEN_SENT);
            let draft = Draft { marks, ..Draft::new((hash, key), 0, deadline) };
            if self.put_apart(local, draft, Condition::Unleased, b"", now)? == Stored::Stored {
                return Ok(with(Leased::Wanted(Some(local.last.cas), nothing)));
            }
            // Somebody was quicker: there is an item or a lease to be found now.
        }
    }

    /// An item without its value.
    #[inline]
    fn view_without_value<'g>(&'g self, guard: &'g BucketGuard<'_>, id: ItemId) -> View<'g> {
        let arena = &self.inner.arena;
        let key = arena.key(Linked::vouched(id, guard));
        View { key, flags: arena.header(id).flags(), cas: arena.cas(id), value: Value::Borrowed(&[]) }
    }
}

impl Invalidation {
    /// What becomes of an item that was like this.
    fn draft(self, old: Draft<'_>) -> Draft<'_> {
        let stale = if self.stale { Marks::STALE } else { Marks::NONE };
        let marks = old.marks.only(Marks::KEY_BASE64).and(stale);
        let flags = if self.empty { 0 } else { old.flags };
        Draft { flags, deadline: self.deadline.unwrap_or(old.deadline), marks, ..old }
    }
}

impl Inner {
    /// Whether an item has this CAS number, if one is named. Never, with `-C`.
    #[inline]
    pub(super) fn has_cas(&self, id: ItemId, wanted: Option<u64>) -> bool {
        wanted.is_none_or(|wanted| self.arena.has_cas() && self.arena.cas(id) == wanted)
    }

    fn place_of(&self, id: ItemId) -> Place {
        let header = self.arena.header(id);
        let shape = self.arena.shape(header.key_len(), header.value_len(), header.flags());
        Place { class: self.queueing_class_of(id).id.number(), item_len: shape.item_len }
    }

    /// What is stored in the place of an item that has moved on: stale, with the item's lifetime and winner.
    #[cold]
    pub(super) fn stale_draft<'k>(&self, slot: Option<Slot<'_>>, draft: Draft<'k>) -> Draft<'k> {
        let slot = slot.expect("only in the place of an item something is stale");
        let deadline = Deadline(self.arena.header(slot.id()).deadline());
        let marks = draft.marks.and(Marks::STALE).and(slot.meta().marks().only(Marks::TOKEN_SENT));
        Draft { deadline, marks, ..draft }
    }

    /// [`Inner::decide`] for leases: a lease is something, though no item.
    #[cold]
    pub(super) fn decide_leased(
        &self,
        condition: Condition,
        slot: Option<Slot<'_>>,
        at: Moment,
    ) -> Result<Stored, Stored> {
        let Some(slot) = slot.filter(|slot| !self.is_dead(slot.id(), at)) else {
            return if condition == Condition::Unleased { Ok(Stored::Stored) } else { Err(Stored::NotStored) };
        };
        let Condition::Leased(token) = condition else { return Err(Stored::NotStored) };
        let (meta, cas) = (slot.meta(), self.arena.cas(slot.id()));
        // With `-C` there is nothing to hold a token against.
        if meta.has(Marks::TOKEN_SENT) && (cas == token || !self.arena.has_cas()) {
            Ok(Stored::Stored)
        } else if meta.has(Marks::STALE) && token > LEASE_TAKEN && token < cas {
            Ok(Stored::StoredStale)
        } else {
            Err(Stored::NotStored)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Now {
        Now { tick: Tick(1000), tick_up: Tick(1001), unix_secs: 1_800_000_000 }
    }

    fn lived(steps: &[Step], deadline: Deadline, created: bool) -> Lived {
        let mut lifetimes = Lifetimes::default();
        steps.iter().for_each(|step| lifetimes.push(*step));
        lifetimes.apply(deadline, created, now())
    }

    /// A client that asks for the old lifetime and gives a new one would be told the wrong one.
    #[test]
    fn lifetimes_are_changed_and_looked_at_in_the_order_asked() {
        use Step::{Recache, Show, Touch, Vivify};
        let (ten, never) = (Deadline::from_exptime(10, now()), Deadline::NEVER);
        let table: [(&[Step], _, _, _, _, _); 11] = [
            (&[], ten, false, ten, None, false),
            (&[Show], ten, false, ten, Some(10), false),
            (&[Show], never, false, never, None, false),
            (&[Show, Touch(0)], ten, false, never, Some(10), false),
            (&[Touch(0), Show], ten, false, never, None, false),
            (&[Vivify(10), Show], never, false, never, None, false),
            (&[Show, Vivify(10), Touch(0)], never, true, never, None, false),
            (&[Touch(0), Vivify(10), Show], never, true, ten, Some(10), false),
            (&[Recache(11), Touch(10)], ten, false, ten, None, true),
            (&[Touch(10), Recache(10)], never, false, ten, None, false),
            (&[Vivify(10), Recache(11), Show, Touch(10)], never, true, ten, Some(10), false),
        ];
        for (steps, before, created, deadline, shown, recaches) in table {
            assert_eq!(lived(steps, before, created), Lived { deadline, shown, recaches }, "{steps:?}");
        }
    }

    #[test]
    fn what_is_left_of_a_second_counts_as_one() {
        for (tick, secs) in [(1001, 0), (1002, 1), (1005, 1), (1006, 2), (1, 0)] {
            assert_eq!(Deadline(tick).secs_left(now()), Some(secs), "at {tick}");
        }
        assert_eq!(Deadline::NEVER.secs_left(now()), None);
    }
}
