//! What the benches share: a daemon without sockets, and keys.

use slabd::clock::Clock;
use slabd::command::Daemon;
use slabd::settings::{ClassSizes, LruMode, LruTuning, Settings};
use slabd::stats::Registry;
use slabd::store::{Store, StoreConfig};

/// Few under `cargo test`, many when measured: more than a processor's cache holds.
pub(crate) fn item_count() -> u64 {
    if std::env::args().any(|arg| arg == "--bench") { 2_000_000 } else { 2_000 }
}

pub(crate) fn daemon(memory_len: u64) -> Daemon {
    let config = StoreConfig {
        memory_len,
        class_len_min: 0,
        item_len_max: 1 << 20,
        classes: ClassSizes::default(),
        with_cas: true,
        evict: true,
        lru: LruMode::default(),
        lru_tuning: LruTuning::default(),
        hash_seed: Some(1),
    };
    Daemon {
        store: Store::new(&config).expect("the memory can be reserved"),
        settings: Settings::default(),
        clock: Clock::system(),
        stats: Registry::default(),
        auth: None,
        tls: None,
    }
}

pub(crate) fn key(n: u64) -> String {
    format!("key{n:010}")
}
