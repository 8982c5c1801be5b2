//! slabd: a cache daemon that speaks memcached's protocol. It keeps opaque bytes under keys, in memory only, in chunks of slab
//! classes; evicts what is used least when memory is short; and leaves sharding over machines to its clients.
//!
//! # Threads
//!
//! ```text
//!   main: start-up, signals ──► acceptor: listeners (tcp, unix, inherited), connection limit
//!                                    │  two candidates by a seeded hash of the peer's address,
//!                                    │  the one with fewer connections gets the socket
//!                      ┌─────────────┼─────────────┐  bounded inbox and waker each
//!                      ▼             ▼             ▼
//!                  worker 0      worker 1  ...  worker n-1     pinned, one poll each
//!                      └─────────────┼─────────────┘
//!                                    ▼
//!                     one store, locked by the bucket of its index
//! ```
//!
//! Beside them: the maintainer, which does what no client waits for (`maintain`), with `-U` a thread for datagrams, and with `--metrics`
//! one for Prometheus.
//!
//! Any worker serves any key. Nothing is handed from worker to worker, and there is no lock that all operations take.
//!
//! # The walk of a request
//!
//! `get` of a small value in the text protocol, top to bottom (the binary one has `session/binary.rs` and `proto/binary.rs`); read
//! in this order:
//!
//! 1. [`server`], phase *read and serve* (`server/worker.rs`; `server/conn.rs` and what is below it): socket → the worker's scratch
//!    buffer, opened on the way if there is TLS (`server/tls.rs`). An idle client owns no buffer.
//! 2. [`session`]: what the input holds is parsed into a batch (`session/batch.rs`); each key is hashed and its bucket's cache line asked
//!    for.
//! 3. [`proto`]: line → [`command::Command`] and [`command::ReplyShape`] (`command/request.rs`, `command/reply.rs`), the key borrowed from
//!    the input.
//! 4. [`command::execute`]: the one executor of all protocols; asks the store.
//! 5. [`store`]: bucket's lock → tag → item → dead? → its use is noted → a view of it.
//! 6. [`proto`] again: the answer's bytes are appended to the outbox while the bucket is locked; long values are pinned instead.
//! 7. [`server`], phase *write*: one write per connection and turn.
//!
//! `set` with its value at hand goes the same way. A long value splits at step 4: a chunk is reserved, the socket is read
//! straight into it, and when it is complete it is linked under its key.
//!
//! # Floors
//!
//! Imports point downwards only; `tests/tidy.rs` holds the table and the list of files that may be unsafe.
//!
//! ```text
//!   cli ─► server ─► session ─► proto ─► command ─► store, auth, tls ─► sys, stats, events, pulse, settings, clock, limits
//! ```
//!
//! **Locks**: sweep → bucket → class → pool; against the arrows only *try* (`store/locks.rs`).
//!
//! # Glossary
//!
//! - **page**: the unit that moves between classes: a mebibyte, or down to 32 KiB in a small memory.
//! - **class**: all chunks of one length. **chunk**: one slot of a page. **item**: a chunk in use, with key and value.
//! - **segment**: one of a class's queues: HOT, WARM, COLD, TEMP.
//! - **bucket**: one cache line of the index, with its lock. **slot**: one of its eight places. **tag**: 16 bits of a key's hash.
//! - **CAS number**: what changes when an item does. **deadline**: when an item is dead. **stamp**: when it was last used.
//! - **marks**: what meta commands and leases note on an item: stale, token sent (somebody is making a new value), key in base64.
//!   **to vivify**: to make an item where there is none. **to win**: to be the one who is told to make a new value.
//! - **reservation**: a chunk being filled, known to nobody else. **pin**: a reader's hold on a value that outlives its lock.
//! - **turn**: one round of a worker's loop. **batch**: requests of one client that are executed together.
//! - **event**: something watchers are told. **log**: what one thread has noted of them. **slice**: a piece of a long answer.
//! - **outbox**: a client's answers that have not left yet.

pub mod cli;
#[doc(hidden)]
pub mod fuzzing;
pub mod server;

pub mod maintain;
pub mod session;

pub mod proto;

pub mod command;

pub mod store;

pub mod auth;
pub mod clock;
pub mod events;
pub mod limits;
pub mod pulse;
pub mod settings;
pub mod stats;
pub mod sys;
pub mod tls;
