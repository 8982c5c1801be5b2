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

use super::expiry::Moment;
use super::hash::Hash;
use super::item::{Chunk, Linked, Segment};
use super::pages::Class;
use super::sizes::{ClassId, ItemShape};
use super::table::{BucketGuard, Meta, Slot};
use super::{Deadline, Inner, Local, Store};
use crate::clock::Now;
use crate::limits::{KEY_LEN_MAX, PIN_VALUE_MIN};
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
    /// If the key is there and has this CAS number (with `-C`: if it is there).
    Cas(u64),
}

/// Where to add to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Behind it.
    Append,
    /// Before it.
    Prepend,
}

/// What became of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Stored.
    Stored,
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
    /// None once committed.
    chunk: Option<Chunk>,
    hash: Hash,
    shape: ItemShape,
    flags: u32,
    deadline: Deadline,
    /// Bytes of the value that have come. <= shape.value_len.
    filled: usize,
}

impl Reservation {
    /// The part of the value that is still to come.
    pub fn unfilled(&mut self) -> &mut [u8] {
        let (start, end) = (self.shape.key_len + self.filled, self.shape.key_len + self.shape.value_len);
        &mut self.body()[start..end]
    }

    /// Says that `len` more bytes have come.
    ///
    /// # Panics
    /// When that is more than were missing.
    pub fn advance(&mut self, len: usize) {
        assert!(len <= self.shape.value_len - self.filled, "more bytes than the value has");
        self.filled += len;
    }

    /// The key's hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    fn body(&mut self) -> &mut [u8] {
        let chunk = self.chunk.as_mut().expect("a reservation has its chunk until it is committed");
        self.inner.body(chunk)
    }

    /// A copy of the key, so that the chunk can go on while it is looked up.
    fn key(&mut self) -> ArrayVec<u8, KEY_LEN_MAX> {
        let len = self.shape.key_len;
        ArrayVec::try_from(&self.body()[..len]).expect("keys are at most KEY_LEN_MAX long")
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.inner.give_back(self.chunk.take());
    }
}

impl Store {
    /// Stores a value that is at hand.
    ///
    /// # Errors
    /// [`Refused`]; an item that was there stays.
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
        let (shape, class) = inner.place_for(key.len(), value.len(), draft.flags)?;
        let mut chunk = None;
        loop {
            let mut guard = inner.table.lock(hash);
            let (slot, at) = (inner.find(&guard, hash, key), inner.moment(now));
            if let Some(outcome) = inner.unmet(condition, slot, at) {
                drop(guard);
                inner.give_back(chunk);
                return Ok(outcome);
            }
            if let Some(slot) = slot
                && inner.fits_in_place(slot, class, value.len())
            {
                inner.replace_in_place(local, &mut guard, slot, draft, value, at);
                drop(guard);
                inner.give_back(chunk);
                return Ok(Stored::Stored);
            }
            if let Some(mut chunk) = inner.usable(chunk.take(), class) {
                let body = inner.body(&mut chunk);
                body[..key.len()].copy_from_slice(key);
                body[key.len()..key.len() + value.len()].copy_from_slice(value);
                return inner.link(local, guard, slot, chunk, shape, draft, at);
            }
            drop(guard);
            chunk = Some(inner.chunk_for(local, class, now)?);
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
        let (shape, class) = self.inner.place_for(key.len(), value_len, draft.flags)?;
        let chunk = self.inner.chunk_for(local, class, now)?;
        let mut reservation = Reservation {
            inner: Arc::clone(&self.inner),
            chunk: Some(chunk),
            hash,
            shape,
            flags: draft.flags,
            deadline: draft.deadline,
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
        assert_eq!(reservation.filled, reservation.shape.value_len, "a value is linked whole");
        assert!(Arc::ptr_eq(&self.inner, &reservation.inner), "a reservation of another store");
        let inner = &*self.inner;
        let key = reservation.key();
        let draft = Draft { key: (reservation.hash, &key), flags: reservation.flags, deadline: reservation.deadline };
        let guard = inner.table.lock(reservation.hash);
        let (slot, at) = (inner.find(&guard, reservation.hash, &key), inner.moment(now));
        if let Some(outcome) = inner.unmet(condition, slot, at) {
            drop(guard);
            return Ok(outcome);
        }
        let chunk = reservation.chunk.take().expect("not committed before");
        inner.link(local, guard, slot, chunk, reservation.shape, draft, at)
    }

    /// Adds a filled reservation's value to the one that is there.
    ///
    /// # Errors
    /// As [`Store::extend`].
    pub fn commit_extension(
        &self,
        local: &mut Local,
        mut reservation: Reservation,
        side: Side,
        now: Now,
    ) -> Result<Stored, Refused> {
        let key = reservation.key();
        let (hash, key_len, value_len) = (reservation.hash, reservation.shape.key_len, reservation.shape.value_len);
        let value = &reservation.body()[key_len..key_len + value_len];
        self.extend(local, (hash, &key), side, value, now)
    }

    /// Adds to a value, keeping its flags and lifetime.
    ///
    /// # Errors
    /// [`Refused`] if the whole is too large or has no chunk; the item stays as it was.
    pub fn extend(
        &self,
        local: &mut Local,
        (hash, key): (Hash, &[u8]),
        side: Side,
        bytes: &[u8],
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
                return Ok(Stored::NotStored);
            };
            let id = slot.id();
            let header = inner.arena.header(id);
            let (old_len, draft) = (header.value_len(), inner.draft_of(slot, (hash, key)));
            let new_len = old_len + bytes.len();
            let (shape, class) = match inner.place_for(key.len(), new_len, draft.flags) {
                Ok(place) => place,
                Err(refused) => {
                    drop(guard);
                    inner.give_back(spare);
                    return Err(refused);
                }
            };
            if side == Side::Append && inner.fits_in_place(slot, class, new_len) {
                let chunk_len = inner.sizes.chunk_len(class);
                inner.arena.overwrite(&mut guard, id, chunk_len, old_len, bytes);
                header.set_value_len(new_len);
                inner.changed_in_place(local, slot, bytes.len() as u64, 0, at);
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
                return inner.link(local, guard, Some(slot), chunk, shape, draft, at);
            }
            drop(guard);
            spare = Some(inner.chunk_for(local, class, now)?);
        }
    }

    /// Rewrites a value from what it is: `with` is given it and returns up to 20 bytes for its beginning and something of its own.
    /// A shorter one is padded with blanks to the old length, a longer one makes the value longer. Keeps flags and lifetime.
    /// None if the key is not there.
    ///
    /// # Errors
    /// What `with` returns as such, with the item as it was; [`Refused`] inside if there is no chunk for a longer value.
    pub fn rewrite<T, E: From<Refused>>(
        &self,
        local: &mut Local,
        (hash, key): (Hash, &[u8]),
        now: Now,
        with: impl Fn(&[u8]) -> Result<(ArrayVec<u8, 20>, T), E>,
    ) -> Result<Option<T>, E> {
        let inner = &*self.inner;
        let mut spare: Option<Chunk> = None;
        let result = loop {
            let mut guard = inner.table.lock(hash);
            let at = inner.moment(now);
            let Some(slot) = inner.find_live(&guard, hash, key, at) else { break Ok(None) };
            let id = slot.id();
            let old = inner.arena.value(Linked::vouched(id, &guard));
            let old_len = old.len();
            let (new, told) = match with(old) {
                Ok(new) => new,
                Err(error) => break Err(error),
            };
            let new_len = old_len.max(new.len());
            let draft = inner.draft_of(slot, (hash, key));
            let (shape, class) = match inner.place_for(key.len(), new_len, draft.flags) {
                Ok(place) => place,
                Err(refused) => break Err(refused.into()),
            };
            if inner.fits_in_place(slot, class, new_len) {
                let chunk_len = inner.sizes.chunk_len(class);
                inner.arena.overwrite(&mut guard, id, chunk_len, 0, &new);
                for blank in new.len()..old_len {
                    inner.arena.overwrite(&mut guard, id, chunk_len, blank, b" ");
                }
                inner.arena.header(id).set_value_len(new_len);
                inner.changed_in_place(local, slot, new_len as u64, old_len as u64, at);
                break Ok(Some(told));
            }
            if let Some(mut chunk) = inner.usable(spare.take(), class) {
                let body = inner.body(&mut chunk);
                body[..key.len()].copy_from_slice(key);
                let value = &mut body[key.len()..key.len() + new_len];
                value[..new.len()].copy_from_slice(&new);
                value[new.len()..].fill(b' ');
                let linked = inner.link(local, guard, Some(slot), chunk, shape, draft, at);
                return linked.map(|_| Some(told)).map_err(E::from);
            }
            drop(guard);
            match inner.chunk_for(local, class, now) {
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
    fn body<'c>(&'c self, chunk: &'c mut Chunk) -> &'c mut [u8] {
        let chunk_len = self.sizes.chunk_len(chunk.class());
        self.arena.body(chunk, chunk_len)
    }

    /// Shape and class of an item.
    #[inline]
    fn place_for(&self, key_len: usize, value_len: usize, flags: u32) -> Result<(ItemShape, ClassId), Refused> {
        debug_assert!((1..=KEY_LEN_MAX).contains(&key_len), "a key length of zero says that a chunk is no item");
        if value_len > self.config.item_len_max {
            return Err(Refused::TooLarge);
        }
        let shape = self.arena.shape(key_len, value_len, flags);
        let class = self.sizes.class_of(shape, self.config.item_len_max).ok_or(Refused::TooLarge)?;
        Ok((shape, class))
    }

    /// What to answer if the condition does not hold.
    #[inline]
    fn unmet(&self, condition: Condition, slot: Option<Slot<'_>>, at: Moment) -> Option<Stored> {
        if condition == Condition::Always {
            return None;
        }
        let live = slot.filter(|slot| !self.is_dead(slot.id(), at));
        match (condition, live) {
            (Condition::Absent, Some(_)) | (Condition::Present, None) => Some(Stored::NotStored),
            (Condition::Cas(_), None) => Some(Stored::NotFound),
            (Condition::Cas(wanted), Some(slot)) => {
                (self.arena.has_cas() && self.arena.cas(slot.id()) != wanted).then_some(Stored::Exists)
            }
            _ => None,
        }
    }

    /// Whether a value of this length, for which `class` was chosen, can be written over the item's: same class, and both
    /// short, so that nobody can have it pinned.
    #[inline]
    fn fits_in_place(&self, slot: Slot<'_>, class: ClassId, value_len: usize) -> bool {
        let id = slot.id();
        value_len < PIN_VALUE_MIN && self.arena.header(id).value_len() < PIN_VALUE_MIN && self.class_of(id).id == class
    }

    fn replace_in_place(
        &self,
        local: &mut Local,
        guard: &mut BucketGuard<'_>,
        slot: Slot<'_>,
        draft: Draft<'_>,
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
        header.set_deadline(draft.deadline.0);
        self.changed_in_place(local, slot, value.len() as u64, old_len as u64, at);
    }

    /// What all changes in place have in common: a new CAS number, a use, `added` bytes more and `removed` less.
    #[inline]
    fn changed_in_place(&self, local: &mut Local, slot: Slot<'_>, added: u64, removed: u64, at: Moment) {
        let id = slot.id();
        let cas = local.next_cas(self.arena.cas(id));
        self.arena.set_cas(id, cas);
        self.arena.header(id).set_access(at.stamp);
        slot.set_meta(slot.meta().restored());
        local.stats.bytes.add(added);
        local.stats.bytes.sub(removed);
        local.stats.total_items.add(1);
        if self.config.lru == LruMode::Flat {
            self.class_of(id).lock().requeue(&self.arena, id, Segment::Cold);
        }
    }

    /// Flags and lifetime of an item that is about to be replaced by a longer one of itself.
    fn draft_of<'k>(&self, slot: Slot<'_>, key: (Hash, &'k [u8])) -> Draft<'k> {
        let header = self.arena.header(slot.id());
        Draft { key, flags: header.flags(), deadline: Deadline(header.deadline()) }
    }

    /// A chunk that costs no eviction: the spare one, if it is still long enough (the item may have changed meanwhile), or one
    /// of the class's.
    fn usable(&self, spare: Option<Chunk>, class: ClassId) -> Option<Chunk> {
        match spare {
            Some(chunk) if chunk.class() >= class => Some(chunk),
            spare => {
                self.give_back(spare);
                self.class(class).lock().take(&self.arena, &self.pool)
            }
        }
    }

    /// Frees a chunk that was not needed after all.
    fn give_back(&self, chunk: Option<Chunk>) {
        if let Some(chunk) = chunk {
            self.class(chunk.class()).lock().give(&self.arena, &self.pool, chunk);
        }
    }

    /// A chunk, by whatever it takes.
    fn chunk_for(&self, local: &mut Local, class: ClassId, now: Now) -> Result<Chunk, Refused> {
        self.make_room(local, self.class(class), now).ok_or(Refused::NoMemory)
    }

    /// Makes a filled chunk the item of its key, in the place of the one in `slot` if there is one.
    #[expect(clippy::too_many_arguments, reason = "all of an item comes together here")]
    fn link<'t>(
        &'t self,
        local: &mut Local,
        mut guard: BucketGuard<'t>,
        slot: Option<Slot<'t>>,
        chunk: Chunk,
        shape: ItemShape,
        draft: Draft<'_>,
        at: Moment,
    ) -> Result<Stored, Refused> {
        let (hash, _) = draft.key;
        let (id, class) = (chunk.id(), self.class(chunk.class()));
        let header = self.arena.header(id);
        header.set_flags(draft.flags);
        header.set_deadline(draft.deadline.0);
        self.arena.set_cas(id, local.next_cas(slot.map_or(0, |slot| self.arena.cas(slot.id()))));
        self.arena.clear_pins(id, class.chunk_len, shape.value_len);
        if let Some(slot) = slot {
            let old = slot.id();
            self.unlink(&local.stats, &guard, old, self.class_of(old));
            slot.set_id(id);
            slot.set_meta(slot.meta().restored());
        } else if guard.insert(hash.tag(), id, Meta::default()) {
            local.count_items(1);
        } else {
            drop(guard);
            self.give_back(Some(chunk));
            return Err(Refused::NoMemory);
        }
        self.enlist(class, chunk, shape, at.stamp);
        drop(guard);
        local.stats.bytes.add(shape.item_len as u64);
        local.stats.curr_items.add(1);
        local.stats.total_items.add(1);
        self.grow_index();
        Ok(Stored::Stored)
    }

    /// Puts a chunk that is in the index into its queue: from here on it is an item.
    fn enlist(&self, class: &Class, chunk: Chunk, shape: ItemShape, stamp: u32) {
        let segment = if self.config.lru == LruMode::Flat { Segment::Cold } else { Segment::Hot };
        let mut class_guard = class.lock();
        self.arena.header(chunk.id()).mark_linked(shape, segment, stamp);
        class_guard.enqueue(&self.arena, chunk.id());
    }
}
