//! What the daemon shows to clients of TLS and what it asks of them: certificates, a key, the versions and the ciphers.
//!
//! ```text
//!   files ──load──► [ config for each kind of listener ]  one snapshot, never changed
//!             ▲               │
//!   SIGHUP, refresh_certs     └──► a connection takes its config when it comes, and keeps it
//! ```
//!
//! A reload makes a whole new snapshot and puts it in the place of the old one; files that cannot be used leave the old one. Connections
//! that are open do not notice either.
//!
//! What memcached leaves to OpenSSL is left to rustls here: TLS 1.2 and 1.3 only, and only ciphers that are good. So an older least version
//! means 1.2, and of a list of ciphers only the names that rustls has count.
//!
//! Not here: bytes of any connection (`server/tls.rs`).

use crate::clock::Tick;
use crate::limits::TLS_FILE_LEN_MAX;
use crate::settings::{ClientCerts, TlsSettings};
use crate::sys::process;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{ALL_CIPHER_SUITES, Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, RootCertStore, ServerConfig, SupportedCipherSuite};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What listeners of TLS show and ask, as the files have it now.
#[derive(Debug)]
pub struct Tls {
    settings: TlsSettings,
    snapshot: RwLock<Snapshot>,
    /// When the snapshot was made, in ticks; a time that is told, nothing depends on it.
    loaded: AtomicU32,
    /// A reload has been asked for.
    asked: AtomicBool,
}

/// One reading of the files: a config for each of [`ClientCerts`], as far as it can be used.
#[derive(Debug)]
struct Snapshot([Option<Arc<ServerConfig>>; 3]);

/// Why files cannot be used, in memcached's words and with what is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The certificate, or what is above it.
    Chain(String),
    /// The private key.
    Key(String),
    /// The certificates by which clients' are judged.
    ClientCa(String),
    /// The list of ciphers, which no file has.
    Ciphers(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(why) => write!(f, "Error loading the certificate chain: {why}"),
            Self::Key(why) => write!(f, "Error loading the key: {why}"),
            Self::ClientCa(why) => write!(f, "Error loading the CA certificate: {why}"),
            Self::Ciphers(list) => write!(f, "Error setting the provided cipher(s): {list}"),
        }
    }
}

impl Tls {
    /// Reads the files that these settings name.
    ///
    /// # Errors
    /// Which of them cannot be used, and why.
    pub fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        let snapshot = RwLock::new(Snapshot::read(settings)?);
        if let Some(list) = &settings.ciphers
            && !words(list).all(|word| suite(word).is_some())
        {
            log::warn!("-o/--extended ssl_ciphers: what is no name of a cipher that rustls has is passed over");
        }
        Ok(Self {
            settings: settings.clone(),
            snapshot,
            loaded: AtomicU32::new(Tick::START.0),
            asked: AtomicBool::new(false),
        })
    }

    /// Reads the files again; connections that come from now on see what they have.
    ///
    /// # Errors
    /// Which of them cannot be used, and why; then all stays as it was.
    pub fn reload(&self, now: Tick) -> Result<(), TlsError> {
        let snapshot = Snapshot::read(&self.settings)?;
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
        self.loaded.store(now.0, Ordering::Relaxed);
        Ok(())
    }

    /// Asks for a reload by a thread that may open files: see [`Tls::reload_if_asked`].
    pub fn ask_reload(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Reads the files again if that has been asked for since the last time, and has the log tell how that went.
    pub fn reload_if_asked(&self, now: Tick) {
        if self.asked.swap(false, Ordering::Relaxed) {
            match self.reload(now) {
                Ok(()) => log::info!("refresh_certs: certificates and key are read again"),
                Err(why) => log::error!("refresh_certs: {why}; certificates and key stay as they were"),
            }
        }
    }

    /// When the files were last read.
    #[must_use]
    pub fn loaded(&self) -> Tick {
        Tick(self.loaded.load(Ordering::Relaxed))
    }

    /// What a new connection begins with, at a listener that asks this of its clients. None if they could not be judged.
    #[must_use]
    pub fn config(&self, asked: ClientCerts) -> Option<Arc<ServerConfig>> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).0[asked as usize].clone()
    }
}

impl Snapshot {
    fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        let chain = read_chain(settings.chain_cert.as_deref())?;
        let key = read_key(settings)?;
        let roots = settings.ca_cert.as_deref().map(read_roots).transpose()?;
        let suites = match &settings.ciphers {
            Some(list) => suites(list).ok_or_else(|| TlsError::Ciphers(list.clone()))?,
            None => ALL_CIPHER_SUITES.to_vec(),
        };
        let provider = Arc::new(CryptoProvider { cipher_suites: suites, ..default_provider() });
        let versions: &[_] = if settings.min_version > TlsSettings::TLS_1_2 { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let mut configs = [None, None, None];
        for asked in [ClientCerts::Ignored, ClientCerts::Requested, ClientCerts::Required] {
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(versions)
                .map_err(|_| TlsError::Ciphers(settings.ciphers.clone().unwrap_or_default()))?;
            let builder = match (asked, &roots) {
                (ClientCerts::Ignored, _) => builder.with_no_client_auth(),
                (_, None) => continue,
                (_, Some(roots)) => {
                    let judge = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&provider));
                    let judge = if asked == ClientCerts::Requested { judge.allow_unauthenticated() } else { judge };
                    let judge = judge.build().map_err(|error| TlsError::ClientCa(error.to_string()))?;
                    builder.with_client_cert_verifier(judge)
                }
            };
            let mut config = builder.with_single_cert(chain.clone(), key.clone_key()).map_err(|error| match error {
                rustls::Error::InvalidCertificate(_) => {
                    TlsError::Chain(with_path(settings.chain_cert.as_deref(), &error))
                }
                _ => TlsError::Key(with_path(settings.key.as_deref(), &error)),
            })?;
            // What is remembered of a session goes to the client, sealed, and costs no memory here.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = usize::from(settings.session_cache);
            if settings.session_cache {
                config.ticketer = Ticketer::new().map_err(|error| TlsError::Key(error.to_string()))?;
            }
            configs[asked as usize] = Some(Arc::new(config));
        }
        Ok(Self(configs))
    }
}

fn read_chain(path: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read_file(path).map_err(TlsError::Chain)?;
    let chain = certificates(&text).map_err(|why| TlsError::Chain(with_path(path, &why)))?;
    Ok(chain)
}

/// The certificates in a text; at least one.
fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is no certificate in it".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

/// The key: from its own file, or from that of the certificates, where memcached's help allows it to be.
fn read_key(settings: &TlsSettings) -> Result<PrivateKeyDer<'static>, TlsError> {
    let own = settings.key.as_deref();
    let text = read_file(own.or(settings.chain_cert.as_deref())).map_err(TlsError::Key)?;
    if settings.key_is_der && own.is_some() {
        return PrivateKeyDer::try_from(text).map_err(|why| TlsError::Key(with_path(own, &why)));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| TlsError::Key(with_path(own, &error)))
}

fn read_roots(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let text = read_file(Some(path)).map_err(TlsError::ClientCa)?;
    let mut roots = RootCertStore::empty();
    for root in certificates(&text).map_err(|why| TlsError::ClientCa(with_path(Some(path), &why)))? {
        roots.add(root).map_err(|error| TlsError::ClientCa(with_path(Some(path), &error)))?;
    }
    Ok(Arc::new(roots))
}

fn read_file(path: Option<&Path>) -> Result<Vec<u8>, String> {
    let Some(name) = path else { return Err(with_path(None, &"is not given")) };
    let mut text = Vec::new();
    let read = File::open(name).and_then(|file| file.take(TLS_FILE_LEN_MAX + 1).read_to_end(&mut text));
    read.map_err(|error| with_path(path, &process::reason(&error)))?;
    if text.len() as u64 > TLS_FILE_LEN_MAX {
        return Err(with_path(path, &format!("more than {TLS_FILE_LEN_MAX} bytes")));
    }
    Ok(text)
}

/// As memcached writes it, who has a null pointer where there is no path.
fn with_path(path: Option<&Path>, why: &dyn fmt::Display) -> String {
    format!("{} : {why}", path.map_or_else(|| PathBuf::from("(null)"), Path::to_owned).display())
}

/// The cipher suites that a list of OpenSSL's names means: those of TLS 1.2 that it names, and those of 1.3, which such a list is not about
/// unless it names one. Words that stand for many (`HIGH`, `ECDHE+AESGCM`) or take something away (`!aNULL`) mean all that rustls has. None if
/// nothing in it is known.
fn suites(list: &str) -> Option<Vec<SupportedCipherSuite>> {
    let (mut named, mut is_open, mut names_13) = (Vec::new(), false, false);
    for word in words(list) {
        if let Some(suite) = suite(word) {
            names_13 |= is_13(suite);
            named.push(suite);
        } else {
            is_open |= KEYWORDS.contains(&word) || word.contains('+') && !word.starts_with('+');
        }
    }
    if is_open {
        return Some(ALL_CIPHER_SUITES.to_vec());
    }
    if named.is_empty() {
        return None;
    }
    if !names_13 {
        named.extend(ALL_CIPHER_SUITES.iter().filter(|suite| is_13(**suite)));
    }
    Some(named)
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split([':', ',', ' ']).filter(|word| !word.is_empty())
}

fn suite(name: &str) -> Option<SupportedCipherSuite> {
    ALL_CIPHER_SUITES.iter().copied().find(|suite| openssl_name(*suite) == name)
}

/// OpenSSL's words for sets of ciphers that rustls' belong to.
const KEYWORDS: [&str; 10] =
    ["ALL", "DEFAULT", "HIGH", "COMPLEMENTOFDEFAULT", "ECDHE", "EECDH", "kECDHE", "AESGCM", "CHACHA20", "TLSv1.2"];

fn is_13(suite: SupportedCipherSuite) -> bool {
    suite.version().version == ProtocolVersion::TLSv1_3
}

/// OpenSSL's name of a suite: `ECDHE-RSA-AES128-GCM-SHA256`; those of TLS 1.3 have the names of the standard there too.
fn openssl_name(suite: SupportedCipherSuite) -> String {
    let standard = format!("{:?}", suite.suite());
    if is_13(suite) {
        return standard.replace("TLS13_", "TLS_");
    }
    let name = standard.trim_start_matches("TLS_").replace("_WITH_", "_").replace("AES_", "AES");
    name.replace("POLY1305_SHA256", "POLY1305").replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphers_are_known_by_openssls_names() {
        let mut names: Vec<_> = ALL_CIPHER_SUITES.iter().map(|suite| openssl_name(*suite)).collect();
        names.sort();
        assert_eq!(
            names,
            [
                "ECDHE-ECDSA-AES128-GCM-SHA256",
                "ECDHE-ECDSA-AES256-GCM-SHA384",
                "ECDHE-ECDSA-CHACHA20-POLY1305",
                "ECDHE-RSA-AES128-GCM-SHA256",
                "ECDHE-RSA-AES256-GCM-SHA384",
                "ECDHE-RSA-CHACHA20-POLY1305",
                "TLS_AES_128_GCM_SHA256",
                "TLS_AES_256_GCM_SHA384",
                "TLS_CHACHA20_POLY1305_SHA256",
            ]
        );
    }

    #[test]
    fn a_list_of_ciphers_means_what_rustls_has_of_it() {
        for (list, count) in [
            ("ECDHE-RSA-AES128-GCM-SHA256", Some(4)),
            ("AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384", Some(5)),
            ("TLS_AES_128_GCM_SHA256", Some(1)),
            ("HIGH:!aNULL:!MD5", Some(9)),
            ("ECDHE+AESGCM", Some(9)),
            ("AES128-SHA", None),
            ("FOO", None),
            ("!aNULL", None),
            ("", None),
        ] {
            assert_eq!(suites(list).map(|suites| suites.len()), count, "{list}");
        }
    }

    #[test]
    fn what_is_missing_is_told_in_memcacheds_words() {
        let error = Tls::load(&TlsSettings::default()).unwrap_err().to_string();
        assert_eq!(error, "Error loading the certificate chain: (null) : is not given");
    }
}
