//! Storing: in place where the new value fits the old one's chunk, otherwise a chunk of its own that is filled while nobody
//! knows it and then linked.
//!
//! ```text
//!   put      value at hand:      lock bucket ─► same class? overwrite : chunk free? fill, link   
//!                                     ▲                                        │ no
//!                                     └── room made ◄─┘ (bucket let go meanwhile)         
//!   reserve  value to come:      chunk ─► Reservation ─► filled by the socket ─► commit: lock bucket, link
//! ```
//!
//! Whatever was true of the bucket before it was let go is looked at again. Dropping a [`Reservation`] gives its chunk back.

use super::arena::ItemId;
use super::expiry::Moment;
use super::hash::Hash;
use super::item::{Chunk, Linked, Segment, piece_ids_len};
use super::meta::{Lifetimes, Receipt};
use super::pages::Class;
use super::queues::Returned;
use super::sizes::{ClassId, ItemShape};
use super::table::{BucketGuard, Ghost, Marks, Meta, Slot};
use super::{Deadline, Inner, Local, Store};
use crate::clock::Now;
use crate::limits::KEY_LEN_MAX;
use crate::settings::LruMode;
use arrayvec::ArrayVec;
use std::sync::Arc;

/// What is known of an item before its value.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// The key and its hash.
    pub key: (Hash, &'a [u8]),
    /// The client's own bits.
    pub flags: u32,
    /// When it dies.
    pub deadline: Deadline,
    /// Its CAS number, if the client chooses it.
    pub cas: Option<u64>,
    /// What is noted on it.
    pub marks: Marks,
}

impl<'a> Draft<'a> {
    /// With a CAS number of the store's own and nothing noted.
    #[inline]
    #[must_use]
    pub fn new(key: (Hash, &'a [u8]), flags: u32, deadline: Deadline) -> Self {
        Self { key, flags, deadline, cas: None, marks: Marks::NONE }
    }
}

/// When to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Always,
    /// If the key is not there.
    Absent,
    /// If the key is there.
    Present,
    /// If the key is there and has this CAS number (never, with `-C`).
    Cas(u64),
    /// The same, or a lower one: what is stored then is stale, and keeps the lifetime and the winner of what was there.
    CasOrStale(u64),
    /// If the key is not there, and is nobody's lease.
    Unleased,
    /// If somebody has a lease on the key or won its refill, and it has this CAS number; or it is stale and has a higher one: then
    /// as for [`Condition::CasOrStale`].
    Leased(u64),
}

/// Under which terms a value is changed that is there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// If it has this CAS number.
    pub compare: Option<u64>,
    /// The CAS number it is given, if the client chooses it.
    pub cas: Option<u64>,
}

/// Where to add to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Behind it.
    Append,
    /// Before it.
    Prepend,
}

/// Where an item goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) shape: ItemShape,
    /// Of its chunk, or of a large item's head.
    pub(super) class: ClassId,
    /// In pieces.
    pub(super) large: bool,
}

/// What became of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Stored.
    Stored,
    /// Stored, and stale from the first.
    StoredStale,
    /// The condition did not hold.
    NotStored,
    /// Another CAS number than asked for.
    Exists,
    /// Asked for a CAS number, and there is no item.
    NotFound,
}

/// Why nothing could be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Larger than `-I`.
    TooLarge,
    /// No chunk, and none could be made free.
    NoMemory,
}

/// A chunk that is being filled. Nobody else knows it; dropping it gives it back.
#[derive(Debug)]
pub struct Reservation {
    inner: Arc<Inner>,
    /// The item's chunk, or a large item's head. None once committed.
    chunk: Option<Chunk>,
    /// Of a large item: those that have been taken so far. All but the last one that there will be are of the largest class.
    pieces: Vec<Chunk>,
    large: bool,
    hash: Hash,
    shape: ItemShape,
    flags: u32,
    deadline: Deadline,
    cas: Option<u64>,
    marks: Marks,
    /// Bytes of the value that have come. <= shape.value_len.
    filled: usize,
}

impl Reservation {
    /// Where the value's next bytes go: all of them, or of a large value those up to the end of its piece. Empty if the value is
    /// complete, or if a large one wants [`Store::grow`] first.
    pub fn unfilled(&mut self) -> &mut [u8] {
        if self.large {
            return self.unfilled_piece();
        }
        let (start, end) = (self.shape.key_len + self.filled, self.shape.key_len + self.shape.value_len);
        &mut self.body()[start..end]
    }

    fn unfilled_piece(&mut self) -> &mut [u8] {
        let piece_len = self.inner.piece_len();
        let (index, within) = (self.filled / piece_len, self.filled % piece_len);
        let end = piece_len.min(self.shape.value_len - index * piece_len);
        let Some(piece) = self.pieces.get_mut(index) else { return &mut [] };
        let chunk_len = self.inner.sizes.chunk_len(piece.class());
        &mut self.inner.arena.piece_body(piece, chunk_len)[within..end]
    }

    pub(super) fn add_piece(&mut self, piece: Chunk) {
        debug_assert!(self.large && self.filled == self.pieces.len() * self.inner.piece_len());
        self.pieces.push(piece);
    }

    /// Bytes of the value that have not come yet.
    #[must_use]
    pub fn missing_len(&self) -> usize {
        self.shape.value_len - self.filled
    }

    /// When the item will be dead.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Bytes of the whole value.
    #[must_use]
    pub fn value_len(&self) -> usize {
        self.shape.value_len
    }

    /// All of the value has come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing_len() == 0
    }

    /// Says that `len` more bytes have come.
    ///
    /// # Panics
    /// When that is more than were missing.
    pub fn advance(&mut self, len: usize) {
        assert!(len <= self.missing_len(), "more bytes than the value has");
        self.filled += len;
    }

    /// The key's hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The value, piece by piece.
    fn parts(&mut self) -> Vec<&[u8]> {
        if !self.large {
            let (start, end) = (self.shape.key_len, self.shape.key_len + self.shape.value_len);
            return vec![&self.body()[start..end]];
        }
        let (mut missing, piece_len) = (self.shape.value_len, self.inner.piece_len());
        let mut parts = Vec::with_capacity(self.pieces.len());
        for piece in &mut self.pieces {
            let chunk_len = self.inner.sizes.chunk_len(piece.class());
            let len = missing.min(piece_len);
            parts.push(&self.inner.arena.piece_body(piece, chunk_len)[..len]);
            missing -= len;
        }
        parts
    }

    /// Writes the pieces' ids into the head, and the head's into the pieces: they are one item from here on.
    fn join_pieces(&mut self) {
        let head = self.chunk.as_ref().expect("not committed before").id();
        let ids: Vec<u8> = self.pieces.iter().flat_map(|piece| piece.id().bits().to_ne_bytes()).collect();
        let start = self.shape.key_len;
        self.body()[start..start + ids.len()].copy_from_slice(&ids);
        for piece in self.pieces.drain(..) {
            self.inner.arena.header(piece.id()).mark_piece(head);
        }
    }

    fn draft<'k>(&self, key: &'k [u8]) -> Draft<'k> {
        let (flags, deadline) = (self.flags, self.deadline);
        Draft { key: (self.hash, key), flags, deadline, cas: self.cas, marks: self.marks }
    }

    fn body(&mut self) -> &mut [u8] {
        let chunk = self.chunk.as_mut().expect("a reservation has its chunk until it is committed");
        self.inner.body(chunk)
    }

    /// A copy of the key, so that the chunk can go on while it is looked up.
    pub fn key(&mut self) -> ArrayVec<u8, KEY_LEN_MAX> {
        let len = self.shape.key_len;
        ArrayVec::try_from(&self.body()[..len]).expect("keys are at most KEY_LEN_MAX long")
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        for piece in self.pieces.drain(..) {
            self.inner.give_back(Some(piece));
        }
        self.inner.give_back(self.chunk.take());
    }
}

impl Store {
    /// [`Store::put`] for all callers but the most frequent one, into which that is compiled.
    ///
    /// # Errors
    /// The same.
    #[inline(never)]
    pub fn put_apart(
        &self,
        local: &mut Local,
        draft: Draft<'_>,
        condition: Condition,
        value: &[u8],
        now: Now,
    ) -> Result<Stored, Refused> {
        self.put(local, draft, condition, value, now)
    }

    /// Stores a value that is at hand.
    ///
    /// # Errors
    /// [`Refused`]; an item that was there stays.
    #[inline(always)]
    pub fn put(
        &self,
        local: &mut Local,
        draft: Draft<'_>,
        condition: Condition,
        value: &[u8],
        now: Now,
    ) -> Result<Stored, Refused> {
        let inner = &*self.inner;
        let (hash, key) = draft.key;
        let Place { shape, class, large } = inner.place_for(key.len(), value.len(), draft.flags)?;
        if large {
            return self.put_large(local, draft, condition, value, now);
        }
        let mut chunk = None;
        loop {
            let mut guard = inner.table.lock(hash);
            let (slot, at) = (inner.find(&guard, hash, key), inner.moment(now));
            let stored = match inner.decide(condition, slot, at) {
                Ok(stored) => stored,
                Err(outcome) => {
                    local.class = inner.class_told(slot, class).number();
                    drop(guard);
                    inner.give_back(chunk);
                    return Ok(outcome);
                }
            };
            let stale;
            let draft = if stored == Stored::StoredStale {
                stale = inner.stale_draft(slot, draft);
                &stale
            } else {
                &draft
            };
            if let Some(slot) = slot
                && inner.fits_in_place(slot, class, value.len())
            {
                inner.replace_in_place(local, &mut guard, slot, draft, value, at);
                drop(guard);
                inner.give_back(chunk);
                return Ok(stored);
            }
            if let Some(mut chunk) = inner.usable(chunk.take(), class) {
                let body = inner.body(&mut chunk);
                body[..key.len()].copy_from_slice(key);
                body[key.len()..key.len() + value.len()].copy_from_slice(value);
                inner.link(local, guard, slot, chunk, shape, draft, at)?;
                return Ok(stored);
            }
            chunk = Some(match slot {
                Some(slot) if condition != Condition::Always => inner.chunk_beside(local, guard, slot, class, now)?,
                _ => {
                    drop(guard);
                    inner.chunk_for(local, class, now)?
                }
            });
        }
    }

    /// A chunk for a value that is to come.
    ///
    /// # Errors
    /// [`Refused`]; an item that was there stays.
    pub fn reserve(
        &self,
        local: &mut Local,
        draft: Draft<'_>,
        value_len: usize,
        now: Now,
    ) -> Result<Reservation, Refused> {
        let (hash, key) = draft.key;
        let Place { shape, class, large } = self.inner.place_for(key.len(), value_len, draft.flags)?;
        let chunk = self.inner.chunk_for_key(local, (hash, key), class, now)?;
        let mut reservation = Reservation {
            inner: Arc::clone(&self.inner),
            chunk: Some(chunk),
            pieces: Vec::with_capacity(if large { self.inner.piece_count(value_len) } else { 0 }),
            large,
            hash,
            shape,
            flags: draft.flags,
            deadline: draft.deadline,
            cas: draft.cas,
            marks: draft.marks,
            filled: 0,
        };
        reservation.body()[..key.len()].copy_from_slice(key);
        Ok(reservation)
    }

    /// Links a filled reservation.
    ///
    /// # Errors
    /// [`Refused::NoMemory`] if the index has no room.
    ///
    /// # Panics
    /// When bytes of the value are missing, or the reservation is another store's.
    pub fn commit(
        &self,
        local: &mut Local,
        mut reservation: Reservation,
        condition: Condition,
        now: Now,
    ) -> Result<Stored, Refused> {
        self.try_commit(local, &mut reservation, condition, now)
    }

    /// The same, which leaves the reservation as it is if the condition does not hold.
    fn try_commit(
        &self,
        local: &mut Local,
        reservation: &mut Reservation,
        condition: Condition,
        now: Now,
    ) -> Result<Stored, Refused> {
        assert!(reservation.is_complete(), "a value is linked whole");
        assert!(Arc::ptr_eq(&self.inner, &reservation.inner), "a reservation of another store");
        let inner = &*self.inner;
        let key = reservation.key();
        let guard = inner.table.lock(reservation.hash);
        let (slot, at) = (inner.find(&guard, reservation.hash, &key), inner.moment(now));
        let draft = reservation.draft(&key);
        match inner.decide(condition, slot, at) {
            Ok(stored) => {
                let is_stale = stored == Stored::StoredStale;
                let draft = if is_stale { inner.stale_draft(slot, draft) } else { draft };
                inner.link_reservation(local, guard, slot, reservation, &draft, at)?;
                Ok(stored)
            }
            Err(outcome) => {
                let class = inner.sizes.class_of_any(reservation.shape);
                local.class = inner.class_told(slot, class).number();
                Ok(outcome)
            }
        }
    }

    /// Links a filled reservation in the place of its key's item, of which it keeps lifetime and marks as they are now, if that
    /// `is` still the one; none if it is another.
    pub(super) fn commit_if(
        &self,
        local: &mut Local,
        mut reservation: Reservation,
        is: impl Fn(Linked<'_>) -> bool,
        now: Now,
    ) -> Result<Option<Stored>, Refused> {
        let inner = &*self.inner;
        let key = reservation.key();
        let guard = inner.table.lock(reservation.hash);
        let at = inner.moment(now);
        let slot = inner.find_live(&guard, reservation.hash, &key, at);
        match slot {
            None => {
                drop(guard);
                Ok(Some(Stored::NotStored))
            }
            Some(found) if is(Linked::vouched(found.id(), &guard)) => {
                let drafted = reservation.draft(&key);
                let draft = inner.extended_draft(found, (reservation.hash, &key), drafted.cas);
                inner.link_reservation(local, guard, slot, &mut reservation, &draft, at)?;
                Ok(Some(Stored::Stored))
            }
            Some(_) => {
                drop(guard);
                Ok(None)
            }
        }
    }

    /// Adds a filled reservation's value to the one that is there. If there is none it becomes the value, if `or_create` says so.
    ///
    /// # Errors
    /// As [`Store::extend`].
    pub fn commit_extension(
        &self,
        local: &mut Local,
        mut reservation: Reservation,
        (side, or_create): (Side, bool),
        terms: Terms,
        now: Now,
    ) -> Result<Stored, Refused> {
        let (hash, key) = (reservation.hash, reservation.key());
        loop {
            let stored = match reservation.parts()[..] {
                [value] => self.extend(local, (hash, &key), side, value, terms, now),
                ref parts => self.extend_large(local, (hash, &key), side, parts, terms, now),
            };
            if !or_create || stored != Ok(Stored::NotStored) {
                return stored;
            }
            // Not stored means that somebody else has created it in between.
            let created = self.try_commit(local, &mut reservation, Condition::Absent, now);
            if created != Ok(Stored::NotStored) {
                return created;
            }
        }
    }

    /// Adds to a value, keeping its flags and lifetime; nothing that was noted on it but how its key was given.
    ///
    /// # Errors
    /// [`Refused`] if the whole is too large or has no chunk; the item stays as it was.
    pub fn extend(
        &self,
        local: &mut Local,
        (hash, key): (Hash, &[u8]),
        side: Side,
        bytes: &[u8],
        terms: Terms,
        now: Now,
    ) -> Result<Stored, Refused> {
        let inner = &*self.inner;
        let mut spare: Option<Chunk> = None;
        loop {
            let mut guard = inner.table.lock(hash);
            let at = inner.moment(now);
            let Some(slot) = inner.find_live(&guard, hash, key, at) else {
                drop(guard);
                inner.give_back(spare);
                let class = inner.place_for(key.len(), bytes.len(), 0).map(|place| place.class.number());
                local.class = class.unwrap_or(0);
                return Ok(Stored::NotStored);
            };
            local.class = inner.queueing_class_of(slot.id()).id.number();
            let id = slot.id();
            if !inner.has_cas(id, terms.compare) {
                drop(guard);
                inner.give_back(spare);
                return Ok(Stored::Exists);
            }
            let header = inner.arena.header(id);
            let (old_len, draft) = (header.value_len(), inner.extended_draft(slot, (hash, key), terms.cas));
            let new_len = old_len + bytes.len();
            let place = inner.place_for(key.len(), new_len, draft.flags);
            let Ok(Place { shape, class, large: false }) = place else {
                drop(guard);
                inner.give_back(spare);
                return place.and_then(|_| self.extend_large(local, (hash, key), side, &[bytes], terms, now));
            };
            if side == Side::Append && inner.fits_in_place(slot, class, new_len) {
                let chunk_len = inner.sizes.chunk_len(class);
                inner.arena.overwrite(&mut guard, id, chunk_len, old_len, bytes);
                header.set_value_len(new_len);
                inner.changed_in_place(local, slot, &draft, (bytes.len(), 0), at);
                local.stats.total_items.add(1);
                drop(guard);
                inner.give_back(spare);
                return Ok(Stored::Stored);
            }
            if let Some(mut chunk) = inner.usable(spare.take(), class) {
                let old = inner.arena.value(Linked::vouched(id, &guard));
                let body = inner.body(&mut chunk);
                let (first, second) = if side == Side::Append { (old, bytes) } else { (bytes, old) };
                let mut rest = &mut body[..key.len() + new_len];
                for part in [key, first, second] {
                    rest[..part.len()].copy_from_slice(part);
                    rest = &mut rest[part.len()..];
                }
                local.copied_len += new_len;
                inner.link(local, guard, Some(slot), chunk, shape, &draft, at)?;
                return Ok(Stored::Stored);
            }
            spare = Some(inner.chunk_beside(local, guard, slot, class, now)?);
        }
    }

    /// Rewrites a value from what it is: `with` is given it and its CAS number and returns up to 20 bytes for its beginning and something of its own.
    /// A shorter one is padded with blanks to the old length, a longer one makes the value longer. Keeps flags, what is noted on
    /// it, and the lifetime, unless `lifetimes` change it; the CAS number is the client's if it chose one. None if the key is not there. A value in pieces is shown as
    /// empty.
    ///
    /// # Errors
    /// What `with` returns as such, with the item as it was; [`Refused`] inside if there is no chunk for a longer value.
    pub fn rewrite<T, E: From<Refused>>(
        &self,
        local: &mut Local,
        (hash, key): (Hash, &[u8]),
        (cas, lifetimes): (Option<u64>, Lifetimes),
        now: Now,
        with: impl Fn(&[u8], u64) -> Result<(ArrayVec<u8, 20>, T), E>,
    ) -> Result<Option<T>, E> {
        let inner = &*self.inner;
        let mut spare: Option<Chunk> = None;
        let result = loop {
            let mut guard = inner.table.lock(hash);
            let at = inner.moment(now);
            let Some(slot) = inner.find_live(&guard, hash, key, at) else { break Ok(None) };
            let id = slot.id();
            let item = Linked::vouched(id, &guard);
            // A value in pieces is no number, and nothing else is rewritten.
            let in_pieces = inner.sizes.is_large(inner.arena.shape_of(item));
            let old = if in_pieces { &[] } else { inner.arena.value(item) };
            let old_len = old.len();
            let (new, told) = match with(old, inner.arena.cas(id)) {
                Ok(new) => new,
                Err(error) => break Err(error),
            };
            let new_len = old_len.max(new.len());
            let lived = lifetimes.apply(Deadline(inner.arena.header(id).deadline()), false, now);
            let draft = inner.draft_of(slot, (hash, key), cas);
            let fetched = if slot.meta().is_fetched() { Marks::FETCHED } else { Marks::NONE };
            let draft = Draft { deadline: lived.deadline, marks: draft.marks.and(fetched), ..draft };
            let (shape, class) = match inner.place_for(key.len(), new_len, draft.flags) {
                Ok(Place { shape, class, large: false }) => (shape, class),
                Ok(_) => break Err(Refused::TooLarge.into()),
                Err(refused) => break Err(refused.into()),
            };
            if inner.fits_in_place(slot, class, new_len) {
                let chunk_len = inner.sizes.chunk_len(class);
                inner.arena.overwrite(&mut guard, id, chunk_len, 0, &new);
                for blank in new.len()..old_len {
                    inner.arena.overwrite(&mut guard, id, chunk_len, blank, b" ");
                }
                inner.arena.header(id).set_value_len(new_len);
                inner.set_deadline(id, draft.deadline);
                inner.changed_in_place(local, slot, &draft, (new_len, old_len), at);
                // Only a number that has become longer is a new item to memcached.
                local.stats.total_items.add(u64::from(new_len > old_len));
                local.last.ttl = lived.shown;
                break Ok(Some(told));
            }
            if let Some(mut chunk) = inner.usable(spare.take(), class) {
                let body = inner.body(&mut chunk);
                body[..key.len()].copy_from_slice(key);
                let value = &mut body[key.len()..key.len() + new_len];
                value[..new.len()].copy_from_slice(&new);
                value[new.len()..].fill(b' ');
                inner.link(local, guard, Some(slot), chunk, shape, &draft, at)?;
                local.last.ttl = lived.shown;
                return Ok(Some(told));
            }
            match inner.chunk_beside(local, guard, slot, class, now) {
                Ok(chunk) => spare = Some(chunk),
                Err(refused) => break Err(refused.into()),
            }
        };
        inner.give_back(spare);
        result
    }
}

impl Inner {
    /// The key and value bytes of an unlinked chunk.
    #[inline]
    pub(super) fn body<'c>(&'c self, chunk: &'c mut Chunk) -> &'c mut [u8] {
        let chunk_len = self.sizes.chunk_len(chunk.class());
        self.arena.body(chunk, chunk_len)
    }

    /// Shape and class of an item.
    #[inline]
    pub(super) fn place_for(&self, key_len: usize, value_len: usize, flags: u32) -> Result<Place, Refused> {
        debug_assert!((1..=KEY_LEN_MAX).contains(&key_len), "a key length of zero says that a chunk is no item");
        if value_len > self.config.item_len_max {
            return Err(Refused::TooLarge);
        }
        let shape = self.arena.shape(key_len, value_len, flags);
        if self.sizes.is_too_large(shape, self.config.item_len_max) {
            return Err(Refused::TooLarge);
        }
        let large = self.sizes.is_large(shape);
        let class = if large {
            let head_len = self.arena.header_len() + key_len + piece_ids_len(self.piece_count(value_len));
            self.sizes.class_for_len(head_len.next_multiple_of(size_of::<u64>()))
        } else {
            self.sizes.class_of(shape)
        };
        Ok(Place { shape, class, large })
    }

    /// Links a filled reservation.
    fn link_reservation<'t>(
        &'t self,
        local: &mut Local,
        guard: BucketGuard<'t>,
        slot: Option<Slot<'t>>,
        reservation: &mut Reservation,
        draft: &Draft<'_>,
        at: Moment,
    ) -> Result<(), Refused> {
        if reservation.large {
            reservation.join_pieces();
        }
        let chunk = reservation.chunk.take().expect("not committed before");
        self.link(local, guard, slot, chunk, reservation.shape, draft, at)
    }

    /// Whether the condition holds, and if so as what to store.
    #[inline]
    fn decide(&self, condition: Condition, slot: Option<Slot<'_>>, at: Moment) -> Result<Stored, Stored> {
        if condition == Condition::Always { Ok(Stored::Stored) } else { self.decide_unusual(condition, slot, at) }
    }

    /// The class that a store is counted for whose condition did not hold: the item's, or the one the value would have had.
    #[cold]
    fn class_told(&self, slot: Option<Slot<'_>>, class: ClassId) -> ClassId {
        slot.map_or(class, |slot| self.queueing_class_of(slot.id()).id)
    }

    fn decide_unusual(&self, condition: Condition, slot: Option<Slot<'_>>, at: Moment) -> Result<Stored, Stored> {
        let live = slot.filter(|slot| self.is_alive(*slot, at));
        match (condition, live) {
            (Condition::Absent, Some(_)) | (Condition::Present, None) => Err(Stored::NotStored),
            (Condition::Cas(_) | Condition::CasOrStale(_), None) => Err(Stored::NotFound),
            // With `-C` no number is right, as in memcached.
            (Condition::Cas(wanted), Some(slot)) if !self.has_cas(slot.id(), Some(wanted)) => Err(Stored::Exists),
            (Condition::CasOrStale(wanted), Some(slot)) if !self.has_cas(slot.id(), Some(wanted)) => {
                let is_lower = wanted != 0 && wanted < self.arena.cas(slot.id());
                if is_lower { Ok(Stored::StoredStale) } else { Err(Stored::Exists) }
            }
            (Condition::Unleased | Condition::Leased(_), _) => self.decide_leased(condition, slot, at),
            _ => Ok(Stored::Stored),
        }
    }

    /// Whether a value of this length, for which `class` was chosen, can be written over the item's: same class, and both
    /// short, so that nobody can have it pinned.
    #[inline]
    pub(super) fn fits_in_place(&self, slot: Slot<'_>, class: ClassId, value_len: usize) -> bool {
        let id = slot.id();
        let pin_min = self.arena.pin_value_min();
        value_len < pin_min && self.arena.header(id).value_len() < pin_min && self.class_of(id).id == class
    }

    #[inline(always)]
    fn replace_in_place(
        &self,
        local: &mut Local,
        guard: &mut BucketGuard<'_>,
        slot: Slot<'_>,
        draft: &Draft<'_>,
        value: &[u8],
        at: Moment,
    ) {
        let id = slot.id();
        let header = self.arena.header(id);
        let old_len = header.value_len();
        self.arena.overwrite(guard, id, self.class_of(id).chunk_len, 0, value);
        if old_len != value.len() {
            header.set_value_len(value.len());
        }
        header.set_flags(draft.flags);
        self.set_deadline(id, draft.deadline);
        self.changed_in_place(local, slot, draft, (value.len(), old_len), at);
        local.stats.total_items.add(1);
    }

    #[inline]
    pub(super) fn set_deadline(&self, id: ItemId, deadline: Deadline) {
        self.arena.header(id).set_deadline(deadline.0);
        self.arena.note_deadline(id, deadline.0);
    }

    /// What all changes in place have in common: a new CAS number, a use, new marks, `added` bytes more and `removed` less.
    #[inline]
    pub(super) fn changed_in_place(
        &self,
        local: &mut Local,
        slot: Slot<'_>,
        draft: &Draft<'_>,
        (added, removed): (usize, usize),
        at: Moment,
    ) {
        let id = slot.id();
        let (added, removed) = (added as u64, removed as u64);
        let old_cas = self.arena.cas(id);
        let cas = self.renew_cas(local, id, old_cas, draft.cas);
        self.recount_length(&local.stats, id, old_cas, (added, removed));
        self.arena.header(id).set_access(at.stamp);
        slot.set_meta(slot.meta().restored(draft.marks));
        local.last = Receipt { cas, value_len: self.arena.header(id).value_len(), ttl: None };
        local.stats.bytes.add(added);
        local.stats.bytes.sub(removed);
        let class = self.class_of(id);
        local.class = class.id.number();
        class.resized(added, removed);
        if self.lru.mode() == LruMode::Flat {
            self.bump(id);
        }
    }

    /// Gives an item the CAS number the client chose, or one of ours; says which.
    #[inline]
    pub(super) fn renew_cas(&self, local: &mut Local, id: ItemId, old: u64, chosen: Option<u64>) -> u64 {
        let cas = chosen.unwrap_or_else(|| local.next_cas(old));
        self.arena.set_cas(id, cas);
        if self.arena.has_cas() { cas } else { 0 }
    }

    /// An item that is about to be replaced by another one of itself.
    pub(super) fn draft_of<'k>(&self, slot: Slot<'_>, key: (Hash, &'k [u8]), cas: Option<u64>) -> Draft<'k> {
        let header = self.arena.header(slot.id());
        let deadline = Deadline(header.deadline());
        Draft { key, flags: header.flags(), deadline, cas, marks: slot.meta().marks() }
    }

    /// The same with a value that is longer: of what has been noted on it only how its key is written stays.
    pub(super) fn extended_draft<'k>(&self, slot: Slot<'_>, key: (Hash, &'k [u8]), cas: Option<u64>) -> Draft<'k> {
        let draft = self.draft_of(slot, key, cas);
        Draft { marks: draft.marks.only(Marks::KEY_BASE64), ..draft }
    }

    /// A chunk that costs no eviction: the spare one, if it is still long enough (the item may have changed meanwhile), or one
    /// of the class's.
    pub(super) fn usable(&self, spare: Option<Chunk>, class: ClassId) -> Option<Chunk> {
        match spare {
            Some(chunk) if chunk.class() >= class => Some(chunk),
            spare => {
                self.give_back(spare);
                self.take_scouting(class)
            }
        }
    }

    /// Frees a chunk that was not needed after all.
    pub(super) fn give_back(&self, chunk: Option<Chunk>) {
        if let Some(chunk) = chunk {
            self.class(chunk.class()).lock().give(&self.arena, &self.pool, chunk);
        }
    }

    /// A chunk, by whatever it takes.
    pub(super) fn chunk_for(&self, local: &mut Local, class: ClassId, now: Now) -> Result<Chunk, Refused> {
        self.make_room(local, self.class(class), now).ok_or_else(|| {
            self.class(class).lock().state.counts.outofmemory += 1;
            Refused::NoMemory
        })
    }

    /// A chunk for what is to take an item's place if that is still there: the item is not what is evicted for it.
    #[cold]
    pub(super) fn chunk_beside(
        &self,
        local: &mut Local,
        guard: BucketGuard<'_>,
        slot: Slot<'_>,
        class: ClassId,
        now: Now,
    ) -> Result<Chunk, Refused> {
        let id = self.spare(slot);
        drop(guard);
        self.sparing(local, id, |local| self.chunk_for(local, class, now))
    }

    /// Has an item spared by all who make room, as one that has just been used.
    fn spare(&self, slot: Slot<'_>) -> ItemId {
        if slot.meta().frequency() == 0 {
            slot.set_meta(slot.meta().used());
        }
        slot.id()
    }

    /// A chunk for a value that is to come: the key's item, which it may be for, is not evicted for it unless there is no other way.
    pub(super) fn chunk_for_key(
        &self,
        local: &mut Local,
        (hash, key): (Hash, &[u8]),
        class: ClassId,
        now: Now,
    ) -> Result<Chunk, Refused> {
        let guard = self.table.lock(hash);
        let id = self.find(&guard, hash, key).map(|slot| self.spare(slot));
        drop(guard);
        let chunk = id.and_then(|id| self.sparing(local, id, |local| self.make_room(local, self.class(class), now)));
        chunk.map_or_else(|| self.chunk_for(local, class, now), Ok)
    }

    /// Does something for which room may be made, but not by this thread's evicting the item.
    fn sparing<T>(&self, local: &mut Local, id: ItemId, work: impl FnOnce(&mut Local) -> T) -> T {
        local.sparing = Some(id);
        let done = work(local);
        local.sparing = None;
        done
    }

    /// Makes a filled chunk the item of its key, in the place of the one in `slot` if there is one.
    #[expect(clippy::too_many_arguments, reason = "all of an item comes together here")]
    pub(super) fn link<'t>(
        &'t self,
        local: &mut Local,
        mut guard: BucketGuard<'t>,
        slot: Option<Slot<'t>>,
        chunk: Chunk,
        shape: ItemShape,
        draft: &Draft<'_>,
        at: Moment,
    ) -> Result<(), Refused> {
        let (hash, _) = draft.key;
        let (id, class) = (chunk.id(), self.class(chunk.class()));
        let queueing = self.queueing_class(class, self.sizes.is_large(shape)).id;
        local.class = queueing.number();
        let header = self.arena.header(id);
        header.set_flags(draft.flags);
        header.set_deadline(draft.deadline.0);
        let cas = self.renew_cas(local, id, slot.map_or(0, |slot| self.arena.cas(slot.id())), draft.cas);
        local.last = Receipt { cas, value_len: shape.value_len, ttl: None };
        self.arena.clear_pins(id, class.chunk_len, shape.value_len);
        let mut ghost = None;
        if let Some(slot) = slot {
            self.unlink(&local.stats, &guard, slot.id());
            slot.set_id(id);
            slot.set_meta(slot.meta().restored(draft.marks));
        } else {
            ghost = guard.take_ghost(hash);
            if !guard.insert(hash.tag(), id, Meta::default().with(draft.marks)) {
                drop(guard);
                if self.sizes.is_large(shape) {
                    self.free_large(chunk, self.arena.header_len() + shape.key_len, shape.value_len);
                } else {
                    self.give_back(Some(chunk));
                }
                return Err(Refused::NoMemory);
            }
            local.count_items(1);
        }
        self.count_length(&local.stats, cas, shape.item_len, true);
        self.enlist(class, chunk, shape, (draft.deadline, ghost), at);
        drop(guard);
        local.stats.bytes.add(shape.item_len as u64);
        local.stats.curr_items.add(1);
        local.stats.total_items.add(1);
        self.grow_index();
        Ok(())
    }

    /// Puts a chunk that is in the index into its queue: from here on it is an item.
    fn enlist(&self, class: &Class, chunk: Chunk, shape: ItemShape, from: (Deadline, Option<Ghost>), at: Moment) {
        let (deadline, ghost) = from;
        let mut segment = self.lru.segment_of_new(deadline, at.now);
        let mut class_guard = self.queueing_class(class, self.sizes.is_large(shape)).lock();
        if let Some(ghost) = ghost {
            let items = class_guard.competing_count();
            let returned = class_guard.state.probation.returned(ghost, items);
            class_guard.state.near_misses += u64::from(returned == Returned::Near);
            if returned != Returned::Late && segment == Segment::Hot && self.lru.mode() == LruMode::S3Fifo {
                segment = Segment::Warm;
            }
        }
        self.arena.header(chunk.id()).mark_linked(shape, segment, at.stamp);
        self.arena.note_deadline(chunk.id(), deadline.0);
        class_guard.enqueue(&self.arena, chunk.id());
        class_guard.state.bytes += shape.item_len as i64;
    }
}
