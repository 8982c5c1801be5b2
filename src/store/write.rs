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
use super::pages::Class;
use super::queues::Returned;
use super::sizes::{ClassId, ItemShape};
use super::table::{BucketGuard, Ghost, Meta, Slot};
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
    /// If the key is there and has this CAS number (never, with `-C`).
    Cas(u64),
}

/// Under which terms a value is changed that is there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// If it has this CAS number (never, with `-C`).
    pub compare: Option<u64>,
}

/// What an item was given when it was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Its CAS number, 0 with `-C`.
    pub cas: u64,
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
    shape: ItemShape,
    /// Of its chunk, or of a large item's head.
    class: ClassId,
    /// In pieces.
    large: bool,
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
    /// The item's chunk, or a large item's head. None once committed.
    chunk: Option<Chunk>,
    /// Of a large item: those that have been taken so far. All but the last one that there will be are of the largest class.
    pieces: Vec<Chunk>,
    large: bool,
    hash: Hash,
    shape: ItemShape,
    flags: u32,
    deadline: Deadline,
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
    /// Stores a value that is at hand.
    ///
    /// # Errors
    /// [`Refused`]; an item that was there stays.
    // Always, as `command::execute::store_whole`, which says why.
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
        let Place { shape, class, large } = self.inner.place_for(key.len(), value_len, draft.flags)?;
        let chunk = self.inner.chunk_for(local, class, now)?;
        let mut reservation = Reservation {
            inner: Arc::clone(&self.inner),
            chunk: Some(chunk),
            pieces: Vec::with_capacity(if large { self.inner.piece_count(value_len) } else { 0 }),
            large,
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
        assert!(reservation.is_complete(), "a value is linked whole");
        assert!(Arc::ptr_eq(&self.inner, &reservation.inner), "a reservation of another store");
        let inner = &*self.inner;
        let key = reservation.key();
        let guard = inner.table.lock(reservation.hash);
        let (slot, at) = (inner.find(&guard, reservation.hash, &key), inner.moment(now));
        if let Some(outcome) = inner.unmet(condition, slot, at) {
            drop(guard);
            return Ok(outcome);
        }
        inner.link_reservation(local, guard, slot, &mut reservation, &key, at)
    }

    /// Links a filled reservation in the place of its key's item if that `is` still the one; none if it is another.
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
                inner.link_reservation(local, guard, slot, &mut reservation, &key, at).map(Some)
            }
            Some(_) => {
                drop(guard);
                Ok(None)
            }
        }
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
        terms: Terms,
        now: Now,
    ) -> Result<Stored, Refused> {
        let (hash, key) = (reservation.hash, reservation.key());
        match reservation.parts()[..] {
            [value] => self.extend(local, (hash, &key), side, value, terms, now),
            ref parts => self.extend_large(local, (hash, &key), side, parts, terms, now),
        }
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
                return Ok(Stored::NotStored);
            };
            let id = slot.id();
            if !inner.has_cas(id, terms.compare) {
                drop(guard);
                inner.give_back(spare);
                return Ok(Stored::Exists);
            }
            let header = inner.arena.header(id);
            let (old_len, draft) = (header.value_len(), inner.draft_of(slot, (hash, key)));
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

    /// Rewrites a value from what it is: `with` is given it and its CAS number (0 with `-C`), and returns up to 20 bytes for its
    /// beginning and something of its own. A shorter one is padded with blanks to the old length, a longer one makes the value longer. Keeps flags and lifetime.
    /// None if the key is not there. A value in pieces is shown as empty.
    ///
    /// # Errors
    /// What `with` returns as such, with the item as it was; [`Refused`] inside if there is no chunk for a longer value.
    pub fn rewrite<T, E: From<Refused>>(
        &self,
        local: &mut Local,
        (hash, key): (Hash, &[u8]),
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
            let draft = inner.draft_of(slot, (hash, key));
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
    fn place_for(&self, key_len: usize, value_len: usize, flags: u32) -> Result<Place, Refused> {
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
        key: &[u8],
        at: Moment,
    ) -> Result<Stored, Refused> {
        let draft = Draft { key: (reservation.hash, key), flags: reservation.flags, deadline: reservation.deadline };
        if reservation.large {
            reservation.join_pieces();
        }
        let chunk = reservation.chunk.take().expect("not committed before");
        self.link(local, guard, slot, chunk, reservation.shape, draft, at)
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
            // With `-C` no number is right, as in memcached.
            (Condition::Cas(wanted), Some(slot)) => (!self.has_cas(slot.id(), Some(wanted))).then_some(Stored::Exists),
            _ => None,
        }
    }

    /// Whether an item has this CAS number, if one is named. Never, with `-C`.
    #[inline]
    pub(super) fn has_cas(&self, id: ItemId, wanted: Option<u64>) -> bool {
        wanted.is_none_or(|wanted| self.arena.has_cas() && self.arena.cas(id) == wanted)
    }

    /// Gives an item a new CAS number, greater than `old`.
    #[inline]
    fn renew_cas(&self, local: &mut Local, id: ItemId, old: u64) {
        let cas = local.next_cas(old);
        self.arena.set_cas(id, cas);
        local.last = Receipt { cas: if self.arena.has_cas() { cas } else { 0 } };
    }

    /// Whether a value of this length, for which `class` was chosen, can be written over the item's: same class, and both
    /// short, so that nobody can have it pinned.
    #[inline]
    fn fits_in_place(&self, slot: Slot<'_>, class: ClassId, value_len: usize) -> bool {
        let id = slot.id();
        value_len < PIN_VALUE_MIN && self.arena.header(id).value_len() < PIN_VALUE_MIN && self.class_of(id).id == class
    }

    // Always, as `command::execute::store_whole`, which says why.
    #[inline(always)]
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
        self.arena.note_deadline(id, draft.deadline.0);
        self.changed_in_place(local, slot, value.len() as u64, old_len as u64, at);
    }

    /// What all changes in place have in common: a new CAS number, a use, `added` bytes more and `removed` less.
    #[inline]
    fn changed_in_place(&self, local: &mut Local, slot: Slot<'_>, added: u64, removed: u64, at: Moment) {
        let id = slot.id();
        self.renew_cas(local, id, self.arena.cas(id));
        self.arena.header(id).set_access(at.stamp);
        slot.set_meta(slot.meta().restored());
        local.stats.bytes.add(added);
        local.stats.bytes.sub(removed);
        local.stats.total_items.add(1);
        self.class_of(id).resized(added, removed);
        if self.lru.mode() == LruMode::Flat {
            self.bump(id);
        }
    }

    /// Flags and lifetime of an item that is about to be replaced by a longer one of itself.
    pub(super) fn draft_of<'k>(&self, slot: Slot<'_>, key: (Hash, &'k [u8])) -> Draft<'k> {
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
        self.renew_cas(local, id, slot.map_or(0, |slot| self.arena.cas(slot.id())));
        self.arena.clear_pins(id, class.chunk_len, shape.value_len);
        let mut ghost = None;
        if let Some(slot) = slot {
            self.unlink(&local.stats, &guard, slot.id());
            slot.set_id(id);
            slot.set_meta(slot.meta().restored());
        } else {
            ghost = guard.take_ghost(hash);
            if !guard.insert(hash.tag(), id, Meta::default()) {
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
        self.enlist(class, chunk, shape, (draft.deadline, ghost), at);
        drop(guard);
        local.stats.bytes.add(shape.item_len as u64);
        local.stats.curr_items.add(1);
        local.stats.total_items.add(1);
        self.grow_index();
        Ok(Stored::Stored)
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
