//! Large items: values too long for any chunk, kept in pieces.
//!
//! ```text
//!   value   |<----- piece_len ----->|<----- piece_len ----->|<- rest ->|
//!   pieces   a largest chunk         a largest chunk         a chunk of the class that fits the rest
//! ```
//!
//! The pieces are taken one by one as the value comes, so that a turn's work is bounded by a turn's input, and given back together
//! if one cannot be had: all or nothing. They are freed before their head, so that whoever holds the lock of a piece's class and
//! finds the piece in use finds its head in place. In queues and counts a large item is one of the largest class.

use super::arena::ItemId;
use super::hash::Hash;
use super::item::{Chunk, Linked, PIECE_HEADER_LEN};
use super::pages::ClassGuard;
use super::write::{Condition, Draft, Refused, Reservation, Side, Stored, Terms};
use super::{EXTENDING_LOCKS, Inner, Local, Pinned, Store, Value};
use crate::clock::Now;
use crate::limits::{EXTENSION_COPIED_MAX, PIN_VALUE_MIN};
use std::sync::PoisonError;

/// A value that is to become part of a longer one.
enum Old {
    /// As it was: it may be changed in place.
    Short(Vec<u8>),
    /// As it is, for as long as it is pinned.
    Long(Pinned),
}

impl Store {
    /// Has the next piece of a large value taken, if [`Reservation::unfilled`] is empty and the value is not complete.
    ///
    /// # Errors
    /// [`Refused::NoMemory`]; drop the reservation then.
    pub fn grow(&self, local: &mut Local, reservation: &mut Reservation, now: Now) -> Result<(), Refused> {
        if reservation.is_complete() || !reservation.unfilled().is_empty() {
            return Ok(());
        }
        let len = reservation.missing_len().min(self.inner.piece_len());
        let class = self.inner.sizes.class_for_len(len + PIECE_HEADER_LEN);
        let (hash, key) = (reservation.hash(), reservation.key());
        let piece = self.inner.chunk_for_key(local, (hash, &key), class, now)?;
        reservation.add_piece(piece);
        Ok(())
    }

    fn fill(
        &self,
        local: &mut Local,
        reservation: &mut Reservation,
        mut bytes: &[u8],
        now: Now,
    ) -> Result<(), Refused> {
        while !bytes.is_empty() {
            self.grow(local, reservation, now)?;
            let room = reservation.unfilled();
            let len = room.len().min(bytes.len());
            room[..len].copy_from_slice(&bytes[..len]);
            reservation.advance(len);
            bytes = &bytes[len..];
        }
        Ok(())
    }

    /// [`Store::put`] of a large value.
    #[cold]
    pub(super) fn put_large(
        &self,
        local: &mut Local,
        draft: Draft<'_>,
        condition: Condition,
        value: &[u8],
        now: Now,
    ) -> Result<Stored, Refused> {
        let mut reservation = self.reserve(local, draft, value.len(), now)?;
        self.fill(local, &mut reservation, value, now)?;
        self.commit(local, reservation, condition, now)
    }

    /// [`Store::extend`] to a large value: the old one is pinned, or copied if it is short, and the whole put together beside
    /// it; again if the item has changed meanwhile, until enough has been copied for nothing. Then it is refused, and the item is as it was.
    #[cold]
    pub(super) fn extend_large(
        &self,
        local: &mut Local,
        key: (Hash, &[u8]),
        side: Side,
        parts: &[&[u8]],
        terms: Terms,
        now: Now,
    ) -> Result<Stored, Refused> {
        let added_len: usize = parts.iter().map(|part| part.len()).sum();
        let mut copied_len = 0;
        let turn = &self.inner.extending[key.0.low() as usize % EXTENDING_LOCKS];
        let _one_at_a_time = turn.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (draft, id, old) = match self.old_value(key, terms, now) {
                Ok(found) => found,
                Err(stored) => return Ok(stored),
            };
            let old_parts: Vec<&[u8]> = match &old {
                Old::Short(copy) => vec![copy],
                Old::Long(pinned) => pinned.parts().collect(),
            };
            let old_len: usize = old_parts.iter().map(|part| part.len()).sum();
            // Others are served by this thread, too: who changes the value faster than it is put together has the last word.
            if copied_len > EXTENSION_COPIED_MAX.max(old_len + added_len) {
                return Err(Refused::NoMemory);
            }
            copied_len += old_len + added_len;
            local.copied_len += old_len + added_len;
            let (first, second) = if side == Side::Append { (&old_parts[..], parts) } else { (parts, &old_parts[..]) };
            let mut reservation = self.reserve(local, draft, old_len + added_len, now)?;
            for part in first.iter().chain(second) {
                self.fill(local, &mut reservation, part, now)?;
            }
            let unchanged = |item: Linked<'_>| match &old {
                _ if !self.inner.has_cas(item.id(), terms.compare) => false,
                _ if self.inner.arena.header(item.id()).flags() != draft.flags => false,
                Old::Short(copy) => {
                    let len = self.inner.arena.header(item.id()).value_len();
                    item.id() == id && len == copy.len() && self.inner.arena.value(item) == copy
                }
                // While it is pinned its chunk is nobody else's.
                Old::Long(_) => item.id() == id,
            };
            if let Some(stored) = self.commit_if(local, reservation, unchanged, now)? {
                return Ok(stored);
            }
        }
    }

    /// What an item has to be replaced with, its id, and its value; or why it is not to be replaced.
    fn old_value<'k>(
        &self,
        (hash, key): (Hash, &'k [u8]),
        terms: Terms,
        now: Now,
    ) -> Result<(Draft<'k>, ItemId, Old), Stored> {
        let inner = &*self.inner;
        let mut copy = Vec::with_capacity(PIN_VALUE_MIN);
        let guard = inner.table.lock(hash);
        let slot = inner.find_live(&guard, hash, key, inner.moment(now)).ok_or(Stored::NotStored)?;
        if !inner.has_cas(slot.id(), terms.compare) {
            return Err(Stored::Exists);
        }
        let draft = inner.extended_draft(slot, (hash, key), terms.cas);
        let old = match self.view(&guard, slot.id()).value {
            Value::Borrowed(bytes) => {
                copy.extend_from_slice(bytes);
                Old::Short(copy)
            }
            Value::Pinned(pinned) => Old::Long(pinned),
        };
        Ok((draft, slot.id(), old))
    }
}

impl Inner {
    /// Bytes of data in a piece that is not the last.
    #[inline]
    pub(super) fn piece_len(&self) -> usize {
        self.sizes.chunk_len(self.sizes.largest()) - PIECE_HEADER_LEN
    }

    /// How many pieces a large value has.
    #[inline]
    pub(super) fn piece_count(&self, value_len: usize) -> usize {
        value_len.div_ceil(self.piece_len())
    }

    /// Frees the pieces of a large item, whose head is the caller's, and then the head. No class may be held. `ids_at` is where
    /// in the head the pieces' ids begin.
    pub(super) fn free_large(&self, head: Chunk, ids_at: usize, value_len: usize) {
        for index in 0..self.piece_count(value_len) {
            let piece = self.owned_piece(&head, ids_at, index);
            self.give_back(Some(piece));
        }
        self.give_back(Some(head));
    }

    /// The same while a class is held, the largest: what is not of it is left in `strays`, to be freed when it is let go.
    pub(super) fn free_large_in(
        &self,
        guard: &mut ClassGuard<'_>,
        head: Chunk,
        ids_at: usize,
        value_len: usize,
        strays: &mut Vec<Chunk>,
    ) {
        for index in 0..self.piece_count(value_len) {
            let piece = self.owned_piece(&head, ids_at, index);
            if piece.class() == guard.class.id {
                guard.give(&self.arena, &self.pool, piece);
            } else {
                strays.push(piece);
            }
        }
        strays.push(head);
    }

    fn owned_piece(&self, head: &Chunk, ids_at: usize, index: usize) -> Chunk {
        let id = self.arena.piece_id_at(head.id(), ids_at + index * size_of::<u32>());
        self.arena.header(id).mark_unlinked();
        Chunk::owned(id, self.class_of(id).id)
    }

    /// The first piece of a large item, for finding a page of the largest class. Under its queueing class's guard.
    pub(super) fn first_piece(&self, head: Linked<'_>) -> ItemId {
        let ids_at = self.arena.header_len() + self.arena.header(head.id()).key_len();
        self.arena.piece_id_at(head.id(), ids_at)
    }
}
