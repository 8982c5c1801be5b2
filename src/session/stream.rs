//! Answers that are more than an answer: dumps, a slice at a time, and what a watcher is told.
//!
//! ```text
//!   Line ──metadump, mgdump, cachedump──► Stream ──slice, slice, ... END──► Line        what was said behind is answered then
//!   Line ──watch──► Stream, for good: what the client says is thrown away; its lines come from whoever serves it
//! ```
//!
//! A slice is bounded by what it looks at and by what it says, and is made when the one before has been written. So a client that does not
//! read holds up its own dump and nobody else.

use super::{Session, State, Stop, answer};
use crate::command::{Context, DumpForm, Out, Outcome, ReplyShape, StreamRequest, WireError, control};
use crate::events::{Event, Kinds, Watcher};
use crate::limits::{
    CACHEDUMP_LEN_MAX, CACHEDUMP_SLICE, DUMP_BUCKET_LEN, DUMP_LINE_LEN_MAX, DUMP_SLICE, DUMP_SLICE_LEN,
};
use crate::proto::dump;
use crate::proto::text::encode;
use crate::store::{Dump, Listing};

/// What is being told.
#[derive(Debug)]
pub(super) enum Stream {
    Dump(DumpForm, Dump),
    Listing(Listed),
    Watch(Watcher),
}

/// A list under way.
#[derive(Debug)]
pub(super) struct Listed {
    listing: Listing,
    /// Items that may still be told.
    items_left: u32,
    /// Bytes that may.
    len_left: usize,
}

impl Session {
    /// Begins to answer by a stream.
    #[cold]
    pub(super) fn begin_stream<O: Out>(
        &mut self,
        cx: &Context<'_>,
        request: StreamRequest,
        out: &mut O,
    ) -> Option<Stop> {
        let begun = if cx.admin { begin(cx, request) } else { Err(WireError::UnknownCommand) };
        match begun {
            Err(error) => {
                answer(ReplyShape::default(), error, out);
                None
            }
            Ok(stream) => {
                out.make_room(DUMP_LINE_LEN_MAX);
                if !matches!(stream, Stream::Listing(_)) {
                    dump::begin(out);
                }
                let stop = matches!(stream, Stream::Watch(_)).then_some(Stop::Watch);
                self.state = State::Stream(Box::new(stream));
                stop
            }
        }
    }

    /// What the client is told of what happens, if it watches.
    #[must_use]
    pub fn watcher(&self) -> Option<&Watcher> {
        match &self.state {
            State::Stream(stream) => match &**stream {
                Stream::Watch(watcher) => Some(watcher),
                _ => None,
            },
            _ => None,
        }
    }

    /// Tells one more slice, or throws away what a watcher says.
    #[cold]
    pub(super) fn go_on_streaming<O: Out>(
        &mut self,
        cx: &Context<'_>,
        input: &[u8],
        out: &mut O,
    ) -> (usize, Option<Stop>) {
        let State::Stream(stream) = &mut self.state else { return (0, None) };
        let more = match &mut **stream {
            Stream::Watch(_) => return (input.len(), Some(Stop::Input)),
            Stream::Dump(_, dump) if !dump.keep_turn(cx.now) => return (input.len(), Some(Stop::Abort)),
            Stream::Dump(form, dump) => dump_slice(cx, *form, dump, out),
            Stream::Listing(listed) => listed.slice(cx, out),
        };
        if more {
            return (0, Some(Stop::Slice));
        }
        self.state = State::Line;
        (0, None)
    }
}

fn begin(cx: &Context<'_>, request: StreamRequest) -> Result<Stream, WireError> {
    let daemon = cx.daemon;
    match request {
        StreamRequest::Dump(form, classes) => Ok(Stream::Dump(form, control::dump(cx, form, classes)?)),
        StreamRequest::Listing { .. } if !daemon.settings.dumps => Err(WireError::ListingDisabled),
        StreamRequest::Listing { class, limit } => {
            let listing = u8::try_from(class).ok().and_then(|class| daemon.store.begin_listing(class));
            let listing = listing.ok_or(WireError::ListingBadClass)?;
            let items_left = if limit == 0 { u32::MAX } else { limit };
            Ok(Stream::Listing(Listed { listing, items_left, len_left: CACHEDUMP_LEN_MAX }))
        }
        StreamRequest::Watch(_) if !daemon.settings.watch => Err(WireError::WatchDisabled),
        StreamRequest::Watch(kinds) => {
            let watcher = daemon.stats.hub.watch(kinds, daemon.settings.logs);
            watcher.map(Stream::Watch).ok_or(WireError::TooManyWatchers)
        }
    }
}

/// Whether there is more.
fn dump_slice<O: Out>(cx: &Context<'_>, form: DumpForm, walk: &mut Dump, out: &mut O) -> bool {
    let mut len = 0;
    for _ in 0..DUMP_SLICE {
        out.make_room(DUMP_BUCKET_LEN);
        let more = walk.step(cx.now, |dumped| len += told(out, |out| dump::item(form, &dumped, out)));
        if !more {
            dump::end(form, out);
            return false;
        }
        if len >= DUMP_SLICE_LEN {
            break;
        }
    }
    true
}

/// Tells something; how many bytes that took.
fn told<O: Out>(out: &mut O, tell: impl FnOnce(&mut Counting<'_, O>)) -> usize {
    let mut counting = Counting { out, len: 0 };
    tell(&mut counting);
    counting.len
}

/// Tells who watches them a line, at the beginning of the input; `in_keys` says that it is the rest of one that has been told.
#[cold]
pub(super) fn note_line(cx: &Context<'_>, input: &[u8], in_keys: bool) {
    let line = input.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if !in_keys && !line.is_empty() && cx.local.stats.log.wants(Kinds::RAWCMDS) {
        cx.local.stats.log.note(Event::Raw(line));
    }
}

/// Counts what is said.
struct Counting<'o, O> {
    out: &'o mut O,
    len: usize,
}

impl<O: Out> Out for Counting<'_, O> {
    fn make_room(&mut self, len: usize) {
        self.out.make_room(len);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        self.out.bytes(bytes);
    }

    fn value(&mut self, value: crate::command::Value<'_>) {
        self.out.value(value);
    }

    fn pending_len(&self) -> usize {
        self.out.pending_len()
    }
}

impl Listed {
    /// Whether there is more.
    fn slice<O: Out>(&mut self, cx: &Context<'_>, out: &mut O) -> bool {
        let mut len = 0;
        let mut more = true;
        // Few chunks at a time: the class is locked meanwhile, and room for their lines has to be made before.
        for _ in 0..DUMP_SLICE / CACHEDUMP_SLICE {
            out.make_room(CACHEDUMP_SLICE as usize * DUMP_LINE_LEN_MAX);
            let (items_left, len_left) = (&mut self.items_left, &mut self.len_left);
            more = self.listing.step(cx.now, CACHEDUMP_SLICE, |dumped| {
                if *items_left == 0 || *len_left < DUMP_LINE_LEN_MAX {
                    return false;
                }
                let line_len = told(out, |out| dump::listed(&dumped, out));
                (*items_left, *len_left, len) = (*items_left - 1, *len_left - line_len, len + line_len);
                true
            });
            if !more || len >= DUMP_SLICE_LEN {
                break;
            }
        }
        if !more {
            encode(ReplyShape::default(), Outcome::EndOfKeys, out);
        }
        more
    }
}
