//! mcrouter's verbs: `lease-get`, `lease-set` and `metaget`, over the same state that the meta commands use.
//!
//! ```text
//!   lease-get key\r\n                                 VALUE key <flags> <bytes>\r\n...\r\nEND\r\n            a good value
//!                                                     LVALUE key <token> <flags> <bytes>\r\n...\r\nEND\r\n   a stale one, or none
//!   lease-set key <token> <flags> <exptime> <bytes>\r\n...\r\n      STORED, STALE_STORED or NOT_STORED
//!   metaget key\r\n                                   META key age: unknown; exptime: <seconds>; from: unknown; is_transient: 0\r\nEND\r\n
//! ```
//!
//! A token of 1 says that somebody else has the lease, for some seconds: ask again later, or take the stale value. `exptime` in
//! the answer to `metaget` counts from now, 0 for no end; `is_transient` is 1 for a stale value.

use super::Request;
use super::line::{Words, signed, unsigned};
use super::text::{Line, NOREPLY, reply_unless, with_key};
use crate::command::{Command, Leased, Marks, MetaView, Out, ReplyShape, StoreRequest, StoreVerb, WireError};
use crate::limits::{KEY_LEN_MAX, LEASE_TAKEN, TERMINATOR_LEN, VALUE_LEN_MAX};

/// `<key>`
pub(super) fn one_key<'a>(line: &'a [u8], command: impl FnOnce(&'a [u8]) -> Command<'a>) -> Line<'a> {
    let mut words = Words::new(line);
    let Some(key) = words.word() else { return refused(WireError::BadCommandLine) };
    if words.more() {
        return refused(WireError::UnknownCommand);
    }
    with_key(key, false, Ok(command(key)))
}

/// lease-set, from behind the verb.
pub(super) fn store(line: &[u8]) -> Line<'_> {
    let mut words = Words::new(line);
    let key = words.word();
    let token = words.unsigned();
    let flags = words.unsigned().and_then(|flags| u32::try_from(flags).ok());
    let exptime = words.word().and_then(signed);
    let Some(value_len) = words.word() else { return refused(WireError::UnknownCommand) };
    let quiet = words.word() == Some(NOREPLY);
    let reply = reply_unless(quiet);
    let too_many = words.more();
    let error = if too_many { WireError::UnknownCommand } else { WireError::BadCommandLine };
    let Some((value_len, swallow)) = unsigned(value_len).and_then(|len| Some((len, len.checked_add(TERMINATOR_LEN)?)))
    else {
        return Line::RefusedUnknown { error, reply };
    };
    let request = || {
        let key = key.filter(|key| key.len() <= KEY_LEN_MAX && !too_many)?;
        let value_len = usize::try_from(Some(value_len).filter(|len| *len <= VALUE_LEN_MAX)?).ok()?;
        Some(StoreRequest { verb: StoreVerb::Lease(token?), key, flags: flags?, exptime: exptime?, value_len })
    };
    match request() {
        Some(request) => Line::Value(request, reply),
        None => Line::RefusedValue { error, reply, swallow },
    }
}

#[cold]
fn refused<'a>(error: WireError) -> Line<'a> {
    Line::One(Request { command: Command::Refused(error), reply: ReplyShape::default() })
}

/// VALUE or LVALUE, a value or none, END.
pub(super) fn leased<O: Out>(leased: Leased<'_>, out: &mut O) {
    let (verb, token, view): (&[u8], _, _) = match leased {
        Leased::Fresh(view) => (b"VALUE ", None, view),
        Leased::Wanted(token, view) => (b"LVALUE ", Some(token.unwrap_or(LEASE_TAKEN)), view),
    };
    out.bytes(verb);
    out.bytes(view.key);
    token.into_iter().for_each(|token| number(token, out));
    number(view.flags.into(), out);
    number(view.value.len() as u64, out);
    out.bytes(b"\r\n");
    out.value(view.value);
    out.bytes(b"\r\nEND\r\n");
}

/// META and what is known, END.
pub(super) fn described<O: Out>(view: &MetaView<'_>, out: &mut O) {
    out.bytes(b"META ");
    out.bytes(view.item.key);
    out.bytes(b" age: unknown; exptime:");
    number(view.ttl.unwrap_or(0).into(), out);
    out.bytes(b"; from: unknown; is_transient:");
    number(view.marks.has(Marks::STALE).into(), out);
    out.bytes(b"\r\nEND\r\n");
}

fn number<O: Out>(number: u64, out: &mut O) {
    out.bytes(b" ");
    out.bytes(itoa::Buffer::new().format(number).as_bytes());
}
