//! The gate: until a client has logged in, nothing but this reads what it says.

use super::{Session, Stop, answer};
use crate::auth::{Auth, Verdict};
use crate::command::{Context, Out, Outcome, ReplyShape, WireError};
use crate::limits::REPLY_HEAD_LEN_MAX;
use crate::proto::login::{Login, login};
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
        let stats = &cx.local.stats;
        match login(input) {
            Login::Partial => (0, Some(Stop::Input)),
            Login::Token { user, secret, used } => {
                let verdict = auth.check(user, secret);
                if verdict == Verdict::Later {
                    return (0, Some(Stop::Later));
                }
                stats.auth_cmds.add(1);
                if verdict == Verdict::Granted {
                    self.admitted = true;
                    out.make_room(REPLY_HEAD_LEN_MAX);
                    encode(ReplyShape::default(), Outcome::Stored, out);
                } else {
                    stats.auth_errors.add(1);
                    answer(ReplyShape::default(), WireError::AuthFailure, out);
                }
                (used, None)
            }
            Login::Refused(error, used) => {
                answer(ReplyShape::default(), error, out);
                (used, None)
            }
            Login::TooLong => {
                answer(ReplyShape::default(), WireError::BadLogin, out);
                (input.len(), Some(Stop::Close))
            }
        }
    }
}
