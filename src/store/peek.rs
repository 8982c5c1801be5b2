//! A look at an item that changes nothing, not even that it has been looked at: for what watchers are told.

use super::expiry::Death;
use super::hash::Hash;
use super::table::Marks;
use super::{Deadline, Inner, Store};
use crate::clock::Now;
use crate::events::{About, Status};

impl Store {
    /// What is there under a key.
    #[must_use]
    pub fn peek(&self, (hash, key): (Hash, &[u8]), now: Now) -> (Status, About) {
        let inner = &*self.inner;
        let guard = inner.table.lock(hash);
        let Some(slot) = inner.find(&guard, hash, key).filter(|slot| !slot.meta().has(Marks::LEASE)) else {
            return (Status::NotFound, About::default());
        };
        let id = slot.id();
        match inner.death(id, inner.moment(now)) {
            Some(Death::Expired) => (Status::Expired, About::default()),
            Some(Death::Flushed) => (Status::Flushed, About::default()),
            None => (Status::Found, inner.about(id, now)),
        }
    }

    /// The number of the class that an item of such lengths would be in, 0 if it is too large for any.
    #[must_use]
    pub fn class_number_for(&self, key_len: usize, value_len: usize, flags: u32) -> u8 {
        let inner = &*self.inner;
        let shape = inner.arena.shape(key_len, value_len, flags);
        if value_len > inner.config.item_len_max { 0 } else { inner.sizes.class_of_any(shape).number() }
    }
}

impl Inner {
    pub(super) fn about(&self, id: super::arena::ItemId, now: Now) -> About {
        let header = self.arena.header(id);
        let shape = self.arena.shape(header.key_len(), header.value_len(), header.flags());
        About {
            class: self.sizes.class_of_any(shape).number(),
            value_len: header.value_len(),
            ttl: Deadline(header.deadline()).secs_left(now),
        }
    }
}
