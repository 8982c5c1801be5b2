//! Certificates made for one test, and a client that speaks TLS.

use super::client::PATIENCE;
use super::wire::{Received, Wire, show};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use slabd::clock::Clock;
use slabd::settings::TlsSettings;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A folder with an authority, and a certificate of the server and of a client by it; gone when dropped.
#[derive(Debug)]
pub(crate) struct Certs {
    folder: PathBuf,
}

impl Certs {
    /// A new authority. `name` is the test's own.
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("slabd-{}-tls-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let certs = Self { folder };
        certs.renew();
        certs
    }

    /// Another authority and other certificates in the same files.
    pub(crate) fn renew(&self) {
        let key = KeyPair::generate().expect("a key can be made");
        let mut authority = CertificateParams::new(Vec::new()).expect("no names are good names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.write("ca.pem", &authority.self_signed(&key).expect("a key signs").pem());
        let issuer = Issuer::new(authority, key);
        for (file, name) in [("server", "localhost"), ("client", "client")] {
            let key = KeyPair::generate().expect("a key can be made");
            let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            let cert = params.signed_by(&key, &issuer).expect("the authority signs");
            self.write(&format!("{file}.pem"), &cert.pem());
            self.write(&format!("{file}.key"), &key.serialize_pem());
        }
    }

    /// One of its files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Puts something else in a file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file can be written");
    }

    /// What a server with these certificates is set to.
    pub(crate) fn settings(&self, verify_mode: u8) -> TlsSettings {
        TlsSettings {
            is_on: true,
            chain_cert: Some(self.path("server.pem")),
            key: Some(self.path("server.key")),
            ca_cert: (verify_mode > 0).then(|| self.path("ca.pem")),
            verify_mode,
            ..TlsSettings::default()
        }
    }

    /// What a client is set to that trusts this authority and, if it is to, shows its own certificate.
    pub(crate) fn client(&self, shows: Option<&Certs>) -> ClientConfig {
        self.client_speaking(rustls::ALL_VERSIONS, shows)
    }

    /// The same, of these versions only.
    pub(crate) fn client_speaking(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        shows: Option<&Certs>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.path("ca.pem"))).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let builder = builder.expect("versions that there are").with_root_certificates(roots);
        match shows {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::from_pem_file(own.path("client.key")).expect("a key");
                builder.with_client_auth_cert(vec![certificate(&own.path("client.pem"))], key).expect("they match")
            }
        }
    }
}

impl Drop for Certs {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}

/// A socket whose bytes leave in pieces, far enough apart to arrive apart.
#[derive(Debug)]
pub(crate) struct Chopped {
    tcp: TcpStream,
    /// Longest piece, if they are to be short.
    piece_len: Option<usize>,
}

impl Read for Chopped {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.tcp.read(into)
    }
}

impl Write for Chopped {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let Some(len) = self.piece_len else { return self.tcp.write(from) };
        std::thread::sleep(Duration::from_micros(300));
        self.tcp.write(&from[..len.min(from.len())])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct TlsClient {
    stream: StreamOwned<ClientConnection, Chopped>,
    clock: Option<Clock>,
}

impl TlsClient {
    /// Connects; the handshake is made by what is said first.
    pub(crate) fn connect(addr: SocketAddr, config: &ClientConfig) -> Self {
        let tcp = TcpStream::connect(addr).expect("the server accepts connections");
        tcp.set_nodelay(true).expect("a socket has this option");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a socket has this option");
        tcp.set_write_timeout(Some(PATIENCE)).expect("a socket has this option");
        let name = ServerName::try_from("localhost").expect("a name");
        let mut connection = ClientConnection::new(Arc::new(config.clone()), name).expect("a config");
        connection.set_buffer_limit(None);
        Self { stream: StreamOwned::new(connection, Chopped { tcp, piece_len: None }), clock: None }
    }

    /// With the server's clock.
    pub(crate) fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sends in pieces of so many bytes of the socket.
    pub(crate) fn chopped(mut self, piece_len: usize) -> Self {
        self.stream.sock.piece_len = Some(piece_len);
        self
    }

    /// The socket under it.
    pub(crate) fn tcp(&mut self) -> &mut TcpStream {
        &mut self.stream.sock.tcp
    }

    /// What TLS knows.
    pub(crate) fn tls(&mut self) -> &mut ClientConnection {
        &mut self.stream.conn
    }

    /// Sends bytes and expects exactly these in answer.
    pub(crate) fn exchange(&mut self, request: &[u8], expected: &[u8]) {
        let answer = self.try_exchange(request, expected.len()).unwrap_or_else(|error| panic!("{error}"));
        assert!(answer == expected, "said {}, got {}", show(request), show(&answer));
    }

    /// Sends bytes; as many bytes of an answer as these, or why not.
    pub(crate) fn try_exchange(&mut self, request: &[u8], len: usize) -> io::Result<Vec<u8>> {
        self.stream.write_all(request)?;
        self.stream.flush()?;
        let mut answer = vec![0; len];
        self.stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    /// Reads to the end, which must be told by TLS and not only by the socket.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut answer = Vec::new();
        self.stream.read_to_end(&mut answer).expect("an end with a goodbye");
        answer
    }
}

impl Wire for TlsClient {
    fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
        drop(self.stream.flush());
    }

    fn receive(&mut self, answer: &mut Vec<u8>) -> Received {
        Received::from(&mut self.stream, answer)
    }

    fn advance(&mut self, ms: u64) {
        self.clock.as_ref().expect("only a clock held by hand can be moved").advance(ms);
    }

    fn unix_secs(&self) -> u64 {
        self.clock.as_ref().unwrap_or(&Clock::system()).now().unix_secs
    }
}
