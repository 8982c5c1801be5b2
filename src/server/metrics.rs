//! `--metrics`: numbers for Prometheus, by HTTP, on a listener and a thread of their own. Nothing of it is there unless it is asked for.
//!
//! ```text
//!   accept ──► reading: a head of bounded length ──► writing ──► closed
//!      │              │ too long, too late              │ too late
//!      └ one too many: the oldest goes                  └──► closed
//! ```
//!
//! It serves `GET` and `HEAD` of `/metrics`, says at `/` where they are, and answers each client once. Clients, what they send and the time
//! they may take are bounded (`limits.rs`), so nobody keeps it from others for long. Workers are not asked: their counters are read.
//!
//! It is *not* where commands are served: no request changes anything. Nor does it encrypt, or ask who somebody is: bind it to an address that
//! only those reach who may know.

use super::inbox::{Inbox, WAKE};
use crate::command::Daemon;
use crate::command::exposition::exposition;
use crate::limits::{METRICS_CONNS_MAX, METRICS_HEADERS_MAX, METRICS_REQUEST_LEN_MAX, METRICS_SECS_MAX};
use crate::pulse::Pulse;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The thread of metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    poll: Poll,
    signal: Arc<Inbox>,
    listeners: Vec<TcpListener>,
    daemon: Arc<Daemon>,
    /// The oldest first; `METRICS_CONNS_MAX` at most.
    clients: VecDeque<Client>,
    /// Of the next client; those of listeners are below.
    next_token: usize,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    token: usize,
    deadline: Instant,
    /// What it has sent, until it is answered.
    request: Vec<u8>,
    /// What is left of the answer.
    answer: Vec<u8>,
    /// Bytes of the answer that are written.
    written: usize,
}

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waits,
    Done,
}

impl Metrics {
    /// A thread that answers who comes to `listeners`; `poll` is woken by `signal`.
    pub(super) fn new(
        poll: Poll,
        signal: Arc<Inbox>,
        mut listeners: Vec<TcpListener>,
        daemon: Arc<Daemon>,
    ) -> io::Result<Self> {
        for (place, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(listener, Token(place), Interest::READABLE)?;
        }
        let next_token = listeners.len();
        Ok(Self { poll, signal, listeners, daemon, clients: VecDeque::new(), next_token })
    }

    /// Answers until told to stop.
    pub(super) fn run(mut self, pulse: &Pulse) {
        let mut events = Events::with_capacity(64);
        while !self.signal.is_stopping() {
            let timeout = self.clients.front().map(|oldest| oldest.deadline.saturating_duration_since(Instant::now()));
            // A little more, so that it is past then.
            let timeout = timeout.map(|timeout| timeout + Duration::from_millis(1));
            pulse.beat();
            if let Err(error) = self.poll.poll(&mut events, pulse.bound(timeout))
                && error.kind() != ErrorKind::Interrupted
            {
                log::error!("cannot poll for metrics: {error}");
                return;
            }
            for event in &events {
                match event.token() {
                    WAKE => {}
                    Token(place) if place < self.listeners.len() => self.accept_all(place),
                    Token(token) => self.serve(token),
                }
            }
            let now = Instant::now();
            while self.clients.front().is_some_and(|oldest| oldest.deadline <= now) {
                self.clients.pop_front();
            }
        }
    }

    /// Takes in all that wait; of too many, those that came last.
    fn accept_all(&mut self, place: usize) {
        loop {
            let mut stream = match self.listeners[place].accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    // Its own trouble, or no descriptor: who waits is found when the next one comes.
                    log::debug!("a client for metrics was lost: {error}");
                    return;
                }
            };
            let token = self.next_token;
            // Never again the token of somebody who is there still, nor of a listener, nor of the waker.
            self.next_token = if token >= usize::MAX / 2 { self.listeners.len() } else { token + 1 };
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, Token(token), interest).is_err() {
                continue;
            }
            if self.clients.len() >= METRICS_CONNS_MAX {
                self.clients.pop_front();
            }
            let deadline = Instant::now() + Duration::from_secs(METRICS_SECS_MAX);
            self.clients.push_back(Client {
                stream,
                token,
                deadline,
                request: Vec::new(),
                answer: Vec::new(),
                written: 0,
            });
        }
    }

    fn serve(&mut self, token: usize) {
        let Some(place) = self.clients.iter().position(|client| client.token == token) else { return };
        let daemon = &self.daemon;
        if self.clients[place].go_on(|request| answer_to(request, || exposition(daemon))) == Progress::Done {
            self.clients.remove(place);
        }
    }
}

impl Client {
    /// Reads, or writes, as far as it goes.
    fn go_on(&mut self, answer_to: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Progress {
        if self.answer.is_empty() {
            let read = self.read();
            match answer_to(&self.request) {
                Some(answer) => self.answer = answer,
                None => return read,
            }
        }
        self.write()
    }

    fn read(&mut self) -> Progress {
        let mut bytes = [0; 1024];
        // One byte more than a request may have says that it is too long.
        while self.request.len() <= METRICS_REQUEST_LEN_MAX {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Progress::Done,
                Ok(len) => self.request.extend_from_slice(&bytes[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Waits,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Progress::Done,
            }
        }
        Progress::Waits
    }

    fn write(&mut self) -> Progress {
        while self.written < self.answer.len() {
            match self.stream.write(&self.answer[self.written..]) {
                Ok(0) => return Progress::Done,
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Waits,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Progress::Done,
            }
        }
        // What it has sent beside its request would make closing a reset, which may take the answer back.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        let _ = self.stream.read(&mut [0; 1024]);
        Progress::Done
    }
}

/// The answer, if the request is complete or cannot become one.
fn answer_to(request: &[u8], metrics: impl FnOnce() -> String) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; METRICS_HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let complete = match parsed.parse(request) {
        Ok(status) => status.is_complete(),
        Err(_) => return Some(answer("400 Bad Request", TEXT, "not a request of HTTP\n", true)),
    };
    if !complete {
        let too_long = request.len() > METRICS_REQUEST_LEN_MAX;
        return too_long.then(|| answer("431 Request Header Fields Too Large", TEXT, "too long\n", true));
    }
    let path = parsed.path.unwrap_or_default().split('?').next().unwrap_or_default();
    let with_body = parsed.method != Some("HEAD");
    let is_read = matches!(parsed.method, Some("GET" | "HEAD"));
    Some(match path {
        "/metrics" | "/" if !is_read => answer("405 Method Not Allowed", "text/plain\r\nAllow: GET, HEAD", "", true),
        "/metrics" => answer("200 OK", METRICS, &metrics(), with_body),
        "/" => answer("200 OK", TEXT, "slabd: metrics are at /metrics\n", with_body),
        _ => answer("404 Not Found", TEXT, "metrics are at /metrics\n", with_body),
    })
}

fn answer(status: &str, content_type: &str, body: &str, with_body: bool) -> Vec<u8> {
    let len = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
    );
    let body = if with_body { body } else { "" };
    [head.as_bytes(), body.as_bytes()].concat()
}

const TEXT: &str = "text/plain; charset=utf-8";

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    fn says(request: &str) -> Option<String> {
        answer_to(request.as_bytes(), || "numbers\n".to_owned()).map(|answer| String::from_utf8(answer).unwrap())
    }

    #[test]
    fn each_request_has_its_answer_and_the_beginning_of_one_has_none() {
        for (request, begin, end) in [
            (
                "GET /metrics HTTP/1.1\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4",
                "\r\n\r\nnumbers\n",
            ),
            ("GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200", "\r\n\r\nnumbers\n"),
            ("GET /metrics HTTP/1.0\r\n\r\n", "HTTP/1.1 200", "numbers\n"),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200", "Content-Length: 8\r\nConnection: close\r\n\r\n"),
            ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200", "/metrics\n"),
            ("GET /metricsx HTTP/1.1\r\n\r\n", "HTTP/1.1 404", "/metrics\n"),
            (
                "POST /metrics HTTP/1.1\r\n\r\n",
                "HTTP/1.1 405",
                "Allow: GET, HEAD\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            ),
            ("stats\r\n", "HTTP/1.1 400", "HTTP\n"),
            ("\0\0\0\0", "HTTP/1.1 400", "HTTP\n"),
        ] {
            let answer = says(request).unwrap();
            assert!(answer.starts_with(begin) && answer.ends_with(end), "{request:?}: {answer:?}");
        }
        assert_eq!(says(""), None);
        assert_eq!(says("GET /metrics HTTP/1.1\r\nHost: x\r\n"), None);
        let long = format!("GET /{} HTTP/1.1", "x".repeat(METRICS_REQUEST_LEN_MAX));
        assert!(says(&long).unwrap().starts_with("HTTP/1.1 431"));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(METRICS_HEADERS_MAX + 1));
        assert!(says(&many).unwrap().starts_with("HTTP/1.1 400"));
    }
}
