//! Where the acceptor puts a worker's new sockets: a bounded queue, a waker, and the count by which workers are chosen.
//!
//! ```text
//!   acceptor ── push ──► [ socket socket ] ── drain ──► worker      the waker is rung only when the queue was empty
//! ```
//!
//! It is *not* on the path of requests: a connection passes here once.

use super::socket::Socket;
use crate::limits::INBOX_LEN_MAX;
use crate::settings::{ClientCerts, Protocol};
use mio::Waker;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A client on its way to its worker.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) socket: Socket,
    /// What its listener says that it speaks.
    pub(super) protocol: Protocol,
    /// That it speaks TLS, and what is asked of it.
    pub(super) tls: Option<ClientCerts>,
}

/// One worker's entrance.
#[derive(Debug)]
pub(super) struct Inbox {
    /// At most `len_max` sockets.
    queue: Mutex<VecDeque<Arrival>>,
    len_max: usize,
    waker: Waker,
    /// Connections of this worker, those in the queue included. The acceptor adds, the worker takes away; statistical
    /// for the choice, exact for the limit because only the acceptor adds.
    open_count: AtomicUsize,
    stopping: AtomicBool,
}

impl Inbox {
    /// An empty one for at most `len_max` sockets that wakes by `waker`.
    fn new(waker: Waker, len_max: usize) -> Self {
        Self {
            queue: Mutex::default(),
            len_max,
            waker,
            open_count: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        }
    }

    /// Hands a socket over, or gives it back if the queue is full.
    pub(super) fn push(&self, arrival: Arrival) -> Result<(), Arrival> {
        let mut queue = self.queue();
        if queue.len() >= self.len_max {
            return Err(arrival);
        }
        let was_empty = queue.is_empty();
        queue.push_back(arrival);
        // Counted before the worker can see it, so that its count never falls below zero.
        self.open_count.fetch_add(1, Ordering::Relaxed);
        drop(queue);
        if was_empty {
            self.wake();
        }
        Ok(())
    }

    /// Whether a push would succeed; true until the (only) pusher pushes.
    pub(super) fn has_room(&self) -> bool {
        self.queue().len() < self.len_max
    }

    /// Exchanges the queue with an empty one of the worker's.
    pub(super) fn drain(&self, into: &mut VecDeque<Arrival>) {
        debug_assert!(into.is_empty(), "sockets of the last turn were not adopted");
        std::mem::swap(&mut *self.queue(), into);
    }

    /// Says that one of the worker's connections is closed.
    pub(super) fn closed(&self) {
        let before = self.open_count.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a connection was closed that was never handed over");
    }

    /// Connections of this worker.
    pub(super) fn open_count(&self) -> usize {
        self.open_count.load(Ordering::Relaxed)
    }

    /// Tells the worker to stop.
    pub(super) fn stop(&self) {
        // Pairs with `is_stopping`: what the stopper did before (closing the listeners, the last push) is seen.
        self.stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether the worker is to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake a worker: {error}");
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Arrival>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a thread's poll that there is something in its inbox; no connection has this token.
pub(super) const WAKE: mio::Token = mio::Token(usize::MAX);

/// A poll and an inbox that wakes it.
pub(super) fn poll_and_inbox() -> io::Result<(mio::Poll, Inbox)> {
    let poll = mio::Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKE)?;
    Ok((poll, Inbox::new(waker, INBOX_LEN_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn arrival() -> Arrival {
        Arrival { socket: Socket::Unix(mio::net::UnixStream::pair().unwrap().0), protocol: Protocol::Auto, tls: None }
    }

    #[test]
    fn the_waker_rings_for_the_first_socket_only_and_again_after_a_drain() {
        let (mut poll, inbox) = poll_and_inbox().unwrap();
        let mut events = mio::Events::with_capacity(8);
        let mut rung = || {
            poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            events.iter().filter(|event| event.token() == WAKE).count()
        };
        inbox.push(arrival()).unwrap();
        assert_eq!(rung(), 1);
        inbox.push(arrival()).unwrap();
        assert_eq!(rung(), 0);
        let mut adopted = VecDeque::new();
        inbox.drain(&mut adopted);
        assert_eq!((adopted.len(), inbox.open_count()), (2, 2));
        inbox.push(arrival()).unwrap();
        assert_eq!(rung(), 1);
        inbox.closed();
        assert_eq!(inbox.open_count(), 2);
    }

    #[test]
    fn a_full_inbox_gives_the_socket_back_and_does_not_count_it() {
        let poll = mio::Poll::new().unwrap();
        let inbox = Inbox::new(Waker::new(poll.registry(), WAKE).unwrap(), 2);
        inbox.push(arrival()).unwrap();
        assert!(inbox.has_room());
        inbox.push(arrival()).unwrap();
        assert!(!inbox.has_room() && inbox.push(arrival()).is_err());
        assert_eq!(inbox.open_count(), 2);
    }
}
