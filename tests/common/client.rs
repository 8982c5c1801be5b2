//! A client over a socket that fails loudly instead of waiting for ever.

use super::wire::{Received, Wire, show};
use slabd::clock::Clock;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take before the test is said to hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// The server's clock; none for a server that runs on the system's.
    clock: Option<Clock>,
    /// Pieces are sent so far apart that they arrive apart.
    apart: bool,
}

impl Client {
    /// Connects to a server that runs on the system's clock.
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the server accepts connections");
        stream.set_nodelay(true).expect("a socket has this option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has this option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket has this option");
        Self { stream, clock: None, apart: false }
    }

    /// With the server's clock, so that [`Wire::advance`] can move it.
    pub(crate) fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Leaves a little time after each piece, so that the server reads it alone.
    pub(crate) fn with_pieces_apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// Sends bytes and expects exactly these in answer.
    pub(crate) fn exchange(&mut self, request: &[u8], expected: &[u8]) {
        self.send(request);
        let mut answer = vec![0; expected.len()];
        let mut len = 0;
        while len < expected.len() {
            match self.stream.read(&mut answer[len..]) {
                Ok(0) => break,
                Ok(more) => len += more,
                Err(error) => panic!("{error} after {} in answer to {}", show(&answer[..len]), show(request)),
            }
            assert!(
                answer[..len] == expected[..len],
                "said {}\nexpected {}\ngot {}",
                show(request),
                show(expected),
                show(&answer[..len])
            );
        }
        assert_eq!(len, expected.len(), "closed after {} in answer to {}", show(&answer[..len]), show(request));
    }

    /// Sends a request and reads its answer up to and with the line that ends it.
    pub(crate) fn ask(&mut self, request: &[u8], last_line: &[u8]) -> Vec<u8> {
        self.send(request);
        let mut answer = Vec::new();
        while !answer.ends_with(last_line) {
            let received = self.receive(&mut answer);
            assert_eq!(received, Received::Bytes, "after {} in answer to {}", show(&answer), show(request));
        }
        answer
    }

    /// Reads until the server closes, which it must.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut answer = Vec::new();
        loop {
            match self.receive(&mut answer) {
                Received::Bytes => {}
                Received::Closed => return answer,
                Received::Silence => panic!("the connection stays open after {}", show(&answer)),
            }
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&self) {
        // The server may have closed already, which is as good.
        drop(self.stream.shutdown(Shutdown::Write));
    }

    /// The socket, for a second thread that sends while this one reads.
    pub(crate) fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a descriptor can be had")
    }
}

impl Wire for Client {
    fn send(&mut self, bytes: &[u8]) {
        // A connection closed by the server is noticed when its answer is read.
        drop(self.stream.write_all(bytes));
        if self.apart {
            std::thread::sleep(Duration::from_millis(1));
        }
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
