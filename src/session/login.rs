//! The gate: until a client has logged in, nothing but this reads what it says, whichever protocol it speaks.

use super::{Session, State, Stop, answer};
use crate::auth::{Auth, Verdict};
use crate::command::{Context, Out, Outcome, ReplyShape, WireError};
use crate::limits::REPLY_HEAD_LEN_MAX;
use crate::proto::binary::{Status, encode_status, say};
use crate::proto::login::{Login, login};
use crate::proto::sasl::{MECHANISMS, Sasl, sasl};
use crate::proto::text::encode;

impl Session {
    /// Serves one request of a client that is not known yet; how much of the input it took.
    #[cold]
    pub(super) fn log_in<O: Out>(
        &mut self,
        cx: &Context<'_>,
        auth: &Auth,
        input: &[u8],
        out: &mut O,
    ) -> (usize, Option<Stop>) {
        out.make_room(REPLY_HEAD_LEN_MAX);
        if matches!(self.state, State::Binary(_)) {
            self.log_in_by_sasl(cx, auth, input, out)
        } else {
            self.log_in_by_token(cx, auth, input, out)
        }
    }

    fn log_in_by_token<O: Out>(
        &mut self,
        cx: &Context<'_>,
        auth: &Auth,
        input: &[u8],
        out: &mut O,
    ) -> (usize, Option<Stop>) {
        let reply = ReplyShape::default();
        match login(input) {
            Login::Partial => (0, Some(Stop::Input)),
            Login::Token { user, secret, used } => {
                let Some(granted) = self.check(cx, auth, (user, secret)) else { return (0, Some(Stop::Later)) };
                if granted {
                    encode(reply, Outcome::Stored, out);
                } else {
                    answer(reply, WireError::AuthFailure, out);
                }
                (used, None)
            }
            Login::Refused(error, used) => {
                answer(reply, error, out);
                (used, None)
            }
            Login::TooLong => {
                answer(reply, WireError::BadLogin, out);
                (input.len(), Some(Stop::Close))
            }
        }
    }

    fn log_in_by_sasl<O: Out>(
        &mut self,
        cx: &Context<'_>,
        auth: &Auth,
        input: &[u8],
        out: &mut O,
    ) -> (usize, Option<Stop>) {
        match sasl(input) {
            Sasl::Partial => (0, Some(Stop::Input)),
            Sasl::Foreign => (input.len(), Some(Stop::Close)),
            Sasl::Mechanisms(echo, used) => {
                say(echo, Status::Ok, MECHANISMS, out);
                (used, None)
            }
            Sasl::Plain { echo, user, secret, used } => {
                let Some(granted) = self.check(cx, auth, (user, secret)) else { return (0, Some(Stop::Later)) };
                if granted {
                    say(echo, Status::Ok, b"Authenticated", out);
                } else {
                    encode_status(echo, Status::AuthFailure, out);
                }
                (used, None)
            }
            Sasl::Failed(echo, used) => {
                cx.local.stats.auth_cmds.add(1);
                cx.local.stats.auth_errors.add(1);
                encode_status(echo, Status::AuthFailure, out);
                (used, None)
            }
            Sasl::Stranger(echo) => {
                encode_status(echo, Status::AuthFailure, out);
                (input.len(), Some(Stop::Close))
            }
        }
    }

    /// Whether this is the user's secret; then the client is known. None: not to be said yet.
    fn check(&mut self, cx: &Context<'_>, auth: &Auth, (user, secret): (&[u8], &[u8])) -> Option<bool> {
        let verdict = auth.check(user, secret);
        if verdict == Verdict::Later {
            return None;
        }
        self.admitted = verdict == Verdict::Granted;
        cx.local.stats.auth_cmds.add(1);
        cx.local.stats.auth_errors.add(u64::from(!self.admitted));
        Some(self.admitted)
    }
}
