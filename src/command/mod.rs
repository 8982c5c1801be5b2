//! What happens: one executor for all protocols, and the vocabulary they share with it.
//!
//! ```text
//!   parser ──► request.rs, meta.rs ──► execute.rs ──────────────┬──► outcome.rs ──► encoder ──► Out
//!     │        admin.rs ─────────────► control.rs, observe.rs ──┘                     ▲
//!     └──────► reply.rs ──────────────────────────────────────────────────────────────┘
//! ```
//!
//! Protocols differ in how they ask and how they are answered, never in what happens. How to answer is a
//! [`ReplyShape`], which only the protocol reads; what happened is an [`Outcome`].

mod admin;
pub mod arithmetic;
pub mod control;
pub mod execute;
pub mod exposition;
pub mod meta;
pub mod observe;
mod outcome;
mod reply;
pub mod report;
mod request;
pub mod tell;

pub use crate::events::Kinds;
pub use crate::settings::{Automove, LruMode, Protocol};
pub use crate::store::{ClassSet, Dumped, Leased, Lifetimes, Marks, MetaView, Receipt, Step, Value, View};
#[cfg(feature = "debug-commands")]
pub use admin::DebugCommand;
pub use admin::{
    DetailCommand, DumpForm, Factor, LruCommand, MaintainCommand, Shutdown, StatsTopic, StreamRequest, Watching,
};
pub use meta::{MetaCommand, MetaCount, MetaDelete, MetaGet, MetaOutcome, StoreTerms};
pub use outcome::{Outcome, Report, WireError};
pub use reply::{MetaShape, Opaque, ReplyShape};
pub use request::{Command, Count, Direction, Initial, StoreRequest, StoreVerb};

use crate::auth::Auth;
use crate::clock::{Clock, Now};
use crate::settings::Settings;
use crate::stats::Registry;
use crate::store::{Local, Store};
use crate::tls::Tls;

/// The version as clients are told it: the release of memcached whose protocol this is, so that clients that switch
/// features on by number find what they expect (they stop reading at the first dash), then our own name and number.
pub const VERSION: &str = concat!("1.6.45-slabd-", env!("CARGO_PKG_VERSION"));

/// Where answers go: a connection's outbox, or a `Vec<u8>` in tests. The one trait of the data path.
pub trait Out {
    /// Makes sure that `len` more bytes and one pinned value can be added without an allocation. Called before a lock is taken.
    fn make_room(&mut self, len: usize);

    /// Adds bytes.
    fn bytes(&mut self, bytes: &[u8]);

    /// Adds a value: copies a borrowed one, keeps a pinned one until it is written.
    fn value(&mut self, value: Value<'_>);

    /// Bytes added and not yet written, pinned values included.
    fn pending_len(&self) -> usize;
}

/// What the whole daemon shares, made once at start-up.
#[derive(Debug)]
pub struct Daemon {
    /// Where it lives.
    pub store: Store,
    /// What the operator asked for.
    pub settings: Settings,
    /// Where the time comes from.
    pub clock: Clock,
    /// All threads' counters.
    pub stats: Registry,
    /// Who may use it; everybody if there is none.
    pub auth: Option<Auth>,
    /// What listeners of TLS show and ask; none if there are none.
    pub tls: Option<Tls>,
}

/// What a thread that executes commands has at hand, for one turn.
#[derive(Debug)]
pub struct Context<'a> {
    /// The whole daemon.
    pub daemon: &'a Daemon,
    /// What this thread owns of the store: its chunks, CAS numbers and counters.
    pub local: &'a mut Local,
    /// The time, for this turn.
    pub now: Now,
    /// Whether what concerns the whole daemon (its statistics, its settings, all its items) may be asked for.
    pub admin: bool,
}
