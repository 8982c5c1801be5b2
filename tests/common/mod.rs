//! What the tests share: a server in this process with a clock moved by hand, a client that expects bytes, a session
//! without any socket, and the transcripts that all of them must answer alike.

pub(crate) mod client;
pub(crate) mod direct;
pub(crate) mod meta;
pub(crate) mod oracle;
pub(crate) mod packet;
pub(crate) mod server;
pub(crate) mod stream;
pub(crate) mod stream_binary;
pub(crate) mod tls;
pub(crate) mod transcripts;
pub(crate) mod transcripts_binary;
pub(crate) mod wire;
