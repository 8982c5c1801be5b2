//! What is meant by `-Z` and the `ssl_` options.

use std::path::PathBuf;

/// TLS, as memcached's options say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// `-Z`: TCP is served with TLS. The others mean nothing without it.
    pub is_on: bool,
    /// `ssl_chain_cert`: the certificate, and those above it.
    pub chain_cert: Option<PathBuf>,
    /// `ssl_key`: the private key; none: it is with the certificate.
    pub key: Option<PathBuf>,
    /// `ssl_keyformat=2`: the key's file is not text.
    pub key_is_der: bool,
    /// `ssl_verify_mode`, 0 to 3.
    pub verify_mode: u8,
    /// `ssl_ciphers`, by OpenSSL's names.
    pub ciphers: Option<String>,
    /// `ssl_ca_cert`: those who vouch for clients.
    pub ca_cert: Option<PathBuf>,
    /// `ssl_wbuf_size` in kilobytes; kept and told, slabd's buffers are the workers'.
    pub wbuf_kb: u32,
    /// `ssl_session_cache`: clients may resume their sessions.
    pub session_cache: bool,
    /// `ssl_kernel_tls`; kept and told.
    pub kernel_tls: bool,
    /// `ssl_min_version`, 0 to 3; what is less than [`TlsSettings::TLS_1_2`] is as good as that.
    pub min_version: u8,
}

impl TlsSettings {
    /// TLS 1.2 as `ssl_min_version`.
    pub const TLS_1_2: u8 = 2;

    /// TLS 1.3, the latest.
    pub const TLS_1_3: u8 = 3;

    /// What the verify mode asks of clients. (Once or each time is the same where nothing is negotiated twice.)
    #[must_use]
    pub fn client_certs(&self) -> ClientCerts {
        match self.verify_mode {
            0 => ClientCerts::Ignored,
            1 => ClientCerts::Requested,
            _ => ClientCerts::Required,
        }
    }
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            is_on: false,
            chain_cert: None,
            key: None,
            key_is_der: false,
            verify_mode: 0,
            ciphers: None,
            ca_cert: None,
            wbuf_kb: 16,
            session_cache: false,
            kernel_tls: false,
            min_version: Self::TLS_1_2,
        }
    }
}

/// What a listener of TLS wants of its clients' certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCerts {
    /// None is asked for.
    Ignored,
    /// A client may have none, but not a wrong one.
    Requested,
    /// A client must have one.
    Required,
}

/// What stands before an address of `-l`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenTls {
    /// `notls:`
    Without,
    /// `btls:`, with nothing asked of clients.
    Basic,
    /// `mtls:`, with certificates on both sides.
    Mutual,
}
