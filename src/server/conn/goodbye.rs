//! How a connection ends.
//!
//! ```text
//!   open ──(quit, end of input)──► closing ──(all written)──┬─(nothing unread)──► closed
//!                                                           └─(unread input)──► lingering ──► closed
//! ```
//!
//! A socket closed with unread input answers with a reset that destroys what the client has not received yet; hence
//! *lingering*: say goodbye, throw away what still comes, close when the client does or after a while.

use super::super::desk::Desk;
use super::{Conn, Next};
use crate::limits::{READ_BUFFER_LEN, TURN_INPUT_MAX};
use crate::session::Session;
use std::io::ErrorKind;

impl Conn {
    /// All is written and nothing more is wanted.
    pub(super) fn farewell(&mut self) -> Next {
        if !self.unread {
            return Next::Close;
        }
        self.end_output();
        self.session = Session::new();
        self.lingering = true;
        self.readable = true;
        Next::Linger
    }

    /// Throws input away until the socket is dry; it says so by an event when there is more.
    pub(super) fn discard(&mut self, desk: &mut Desk) -> Next {
        for _ in 0..TURN_INPUT_MAX / READ_BUFFER_LEN {
            if !self.readable {
                return Next::Wait;
            }
            match self.socket.read(&mut desk.scratch, &mut desk.tls) {
                Ok(0) => return Next::Close,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Next::Close,
            }
        }
        Next::Yield
    }

    /// Says goodbye and reads what is there, so that closing does not take answers back; the daemon is stopping.
    pub(in crate::server) fn let_go(&mut self, desk: &mut Desk) {
        self.end_output();
        self.readable = true;
        self.discard(desk);
    }

    fn end_output(&mut self) {
        // It may be closed already; that is an end, too.
        let _ = self.socket.end_output();
    }
}
