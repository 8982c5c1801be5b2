//! slabd: a memcached-protocol cache daemon.
pub mod cli;
pub mod clock;
pub mod command;
pub mod limits;
pub mod proto;
pub mod server;
pub mod session;
pub mod settings;
pub mod stats;
pub mod store;
pub mod sys;
