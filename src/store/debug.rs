//! `debugitem`, for tests that need an item to be in somebody's hands: not in a release.

use super::hash::Hash;
use super::{Local, Pinned, Store, Value};
use crate::clock::Now;

/// What is held.
#[derive(Debug, Default)]
pub(super) struct InHand {
    /// Whose bucket is locked.
    locked: Vec<Hash>,
    /// Whose value is pinned.
    pinned: Vec<(Hash, Pinned)>,
}

impl Store {
    /// Locks the bucket of a key that is there, for good: whoever asks for any key of it waits. Whether it did; not twice.
    pub fn debug_lock(&self, local: &mut Local, key: (Hash, &[u8]), now: Now) -> bool {
        let mut board = self.inner.chores.board();
        // Asked first: whoever looks for the key would wait.
        if board.in_hand.locked.iter().any(|hash| self.inner.table.share_bucket(*hash, key.0)) {
            return false;
        }
        if !self.get(local, key, now, None, |view| view.is_some()) {
            return false;
        }
        self.inner.table.lock_for_good(key.0);
        board.in_hand.locked.push(key.0);
        true
    }

    /// Unlocks it; whether it was locked.
    pub fn debug_unlock(&self, hash: Hash) -> bool {
        let mut board = self.inner.chores.board();
        let place = board.in_hand.locked.iter().position(|locked| *locked == hash);
        if let Some(place) = place {
            board.in_hand.locked.swap_remove(place);
            self.inner.table.unlock_for_good(hash);
        }
        place.is_some()
    }

    /// Pins the value of a key, if it is there and long enough to be pinned; whether it did.
    pub fn debug_pin(&self, local: &mut Local, key: (Hash, &[u8]), now: Now) -> bool {
        let pinned = self.get(local, key, now, None, |view| match view?.value {
            Value::Pinned(pinned) => Some(pinned),
            Value::Borrowed(_) => None,
        });
        let is_pinned = pinned.is_some();
        self.inner.chores.board().in_hand.pinned.extend(pinned.map(|pinned| (key.0, pinned)));
        is_pinned
    }

    /// Lets one such go; whether there was one.
    pub fn debug_unpin(&self, hash: Hash) -> bool {
        let mut board = self.inner.chores.board();
        let place = board.in_hand.pinned.iter().position(|(pinned, _)| *pinned == hash);
        let pinned = place.map(|place| board.in_hand.pinned.swap_remove(place));
        drop(board);
        pinned.is_some()
    }
}
