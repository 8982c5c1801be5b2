//! The administrator's commands of the text protocol: `slabs`, `lru_crawler`, `cache_memlimit`, `stats`. Behind the verb, in their lines'
//! order of words:
//!
//! ```text
//!   slabs reassign <from> <to>              lru_crawler enable | disable
//!   slabs automove 0|1|2 [noreply]          lru_crawler sleep <us> | tocrawl <items>
//!   slabs automove ratio|window <n>         lru_crawler crawl <class>[,<class>...] | all
//!   cache_memlimit <MB> [noreply]           stats settings | items | slabs | sizes | conns | reset | ...
//!   watch [<kind> ...]                      lru_crawler metadump | mgdump <class>[,<class>...] | all | hash
//!   shutdown [graceful]                     stats cachedump <class> <limit>
//! ```
//!
//! Answers are memcached 1.6.18's, but for `slabs automove window`, which it does not know and 1.6.45 does, and for numbers of more than 32
//! bits, which it cuts and this does not. A wrong number of words is ERROR, a word that should be a number and is none CLIENT_ERROR
//! (`slabs`, `lru_crawler`) or ERROR (`cache_memlimit`). `noreply` silences only the two that take it, errors included.

use super::line::{Words, signed, unsigned};
use super::text::NOREPLY;
use crate::command::{
    Automove, ClassSet, Command, DetailCommand, DumpForm, Kinds, MaintainCommand, Shutdown, StatsTopic, StreamRequest,
    Watching, WireError,
};

/// What a line says, and whether nothing is to be answered.
pub(super) type Read<'a> = (Result<Command<'a>, WireError>, bool);

/// slabs ...
pub(super) fn slabs<'a>(line: &[u8]) -> Read<'a> {
    let mut words = Words::new(line);
    match (words.word(), words.more()) {
        (Some(b"reassign"), true) => (reassign(words).map(Command::Maintain), false),
        (Some(b"automove"), true) => {
            let quiet = Words::new(line).last() == Some(NOREPLY);
            (automove(words).map(Command::Maintain), quiet)
        }
        _ => (Err(WireError::UnknownCommand), false),
    }
}

fn reassign(mut words: Words<'_>) -> Result<MaintainCommand, WireError> {
    let (from, to) = two(&mut words).ok_or(WireError::UnknownCommand)?;
    let class = |word| Some(i32::try_from(signed(word)?).unwrap_or(i32::MAX));
    Ok(MaintainCommand::Reassign(class(from).zip(class(to))))
}

/// Words behind what is understood are ignored, as by memcached.
fn automove(mut words: Words<'_>) -> Result<MaintainCommand, WireError> {
    let word = words.word().ok_or(WireError::UnknownCommand)?;
    if word == b"ratio" {
        let ratio = words.word().and_then(|word| str::from_utf8(word).ok()?.parse::<f64>().ok());
        return ratio.map(|ratio| MaintainCommand::AutomoveRatio(ratio.into())).ok_or(WireError::UnknownCommand);
    }
    if word == b"window" {
        let window = words.word().and_then(unsigned).ok_or(WireError::UnknownCommand)?;
        return Ok(MaintainCommand::AutomoveWindow(u32::try_from(window).unwrap_or(u32::MAX)));
    }
    let level = unsigned(word).ok_or(WireError::BadCommandLine)?;
    Automove::from_number(level).map(MaintainCommand::Automove).ok_or(WireError::UnknownCommand)
}

/// What numbers are asked for, behind `stats`, in whatever protocol. Words behind what is understood are ignored, but behind those topics
/// that are ours.
pub(super) fn stats_topic(mut words: Words<'_>) -> Option<StatsTopic> {
    Some(match words.word() {
        None => StatsTopic::General,
        Some(b"settings") => StatsTopic::Settings,
        Some(b"items") => StatsTopic::Items,
        Some(b"slabs") => StatsTopic::Slabs,
        Some(b"reset") => StatsTopic::Reset,
        Some(b"sizes") => StatsTopic::Sizes,
        Some(b"sizes_enable") => StatsTopic::TrackSizes(true),
        Some(b"sizes_disable") => StatsTopic::TrackSizes(false),
        Some(b"conns") => StatsTopic::Conns,
        Some(b"detail") => StatsTopic::Detail(match words.word() {
            Some(b"on") => Some(DetailCommand::Turn(true)),
            Some(b"off") => Some(DetailCommand::Turn(false)),
            Some(b"dump") => Some(DetailCommand::Dump),
            _ => None,
        }),
        Some(b"latency") => StatsTopic::Latency(watching(words)?),
        Some(b"hotkeys") => StatsTopic::Hotkeys(watching(words)?),
        Some(_) => return None,
    })
}

fn watching(mut words: Words<'_>) -> Option<Watching> {
    let watching = match words.word() {
        None => Watching::Tell,
        Some(b"on") => Watching::Turn(true),
        Some(b"off") => Watching::Turn(false),
        Some(b"reset") => Watching::Reset,
        Some(_) => return None,
    };
    (!words.more()).then_some(watching)
}

/// lru_crawler ...
pub(super) fn lru_crawler<'a>(line: &[u8]) -> Read<'a> {
    (dump(Words::new(line)).unwrap_or_else(|| crawler(Words::new(line)).map(Command::Maintain)), false)
}

/// metadump or mgdump and what of; none if it is neither.
fn dump<'a>(mut words: Words<'_>) -> Option<Result<Command<'a>, WireError>> {
    let form = match words.word()? {
        b"metadump" => DumpForm::Meta,
        b"mgdump" => DumpForm::Keys,
        _ => return None,
    };
    let classes = words.word().filter(|_| !words.more());
    Some(classes.ok_or(WireError::UnknownCommand).map(|classes| {
        // By the index it goes in any case.
        let classes = if classes == b"hash" { Some(ClassSet::ALL) } else { class_set(classes) };
        Command::Stream(StreamRequest::Dump(form, classes))
    }))
}

/// stats cachedump ...
pub(super) fn cachedump<'a>(line: &[u8]) -> Read<'a> {
    let mut words = Words::new(line);
    let (_cachedump, class, limit) = (words.word(), words.word(), words.word());
    let number = |word| unsigned(word).and_then(|number| u32::try_from(number).ok()).ok_or(WireError::BadCommandLine);
    let read = |class, limit| {
        let (class, limit) = (number(class)?, number(limit)?);
        Ok(Command::Stream(StreamRequest::Listing { class, limit }))
    };
    (class.zip(limit).ok_or(WireError::ListingUsage).and_then(|(class, limit)| read(class, limit)), false)
}

/// watch ...
pub(super) fn watch<'a>(line: &[u8]) -> Read<'a> {
    let mut words = Words::new(line);
    let mut kinds = if words.more() { Kinds::NONE } else { Kinds::FETCHERS };
    while let Some(word) = words.word() {
        kinds = kinds.and(match word {
            b"fetchers" => Kinds::FETCHERS,
            b"mutations" => Kinds::MUTATIONS,
            b"evictions" => Kinds::EVICTIONS,
            b"connevents" => Kinds::CONNEVENTS,
            b"sysevents" => Kinds::SYSEVENTS,
            b"deletions" => Kinds::DELETIONS,
            b"rawcmds" => Kinds::RAWCMDS,
            // Of memcached's proxy.
            b"proxyreqs" | b"proxyevents" | b"proxyuser" => Kinds::NONE,
            _ => return (Err(WireError::UnknownCommand), false),
        });
    }
    (Ok(Command::Stream(StreamRequest::Watch(kinds))), false)
}

/// shutdown `[graceful]`
pub(super) fn shutdown<'a>(line: &[u8]) -> Read<'a> {
    let mut words = Words::new(line);
    let how = match (words.word(), words.more()) {
        (None, _) => Some(Shutdown::Now),
        (Some(b"graceful"), false) => Some(Shutdown::Gracefully),
        _ => None,
    };
    (Ok(Command::Shutdown(how)), false)
}

fn crawler(mut words: Words<'_>) -> Result<MaintainCommand, WireError> {
    let (verb, argument) = (words.word(), words.word());
    if words.more() {
        return Err(WireError::UnknownCommand);
    }
    let number = |word| unsigned(word).map(|n| u32::try_from(n).unwrap_or(u32::MAX)).ok_or(WireError::BadCommandLine);
    match (verb, argument) {
        (Some(b"enable"), None) => Ok(MaintainCommand::EnableCrawler),
        (Some(b"disable"), None) => Ok(MaintainCommand::DisableCrawler),
        (Some(b"sleep"), Some(us)) => number(us).map(MaintainCommand::CrawlerSleep),
        (Some(b"tocrawl"), Some(items)) => number(items).map(MaintainCommand::CrawlerToCrawl),
        (Some(b"crawl"), Some(classes)) => Ok(MaintainCommand::Crawl(class_set(classes))),
        _ => Err(WireError::UnknownCommand),
    }
}

/// `all`, or numbers with commas between them, as many as you like.
fn class_set(word: &[u8]) -> Option<ClassSet> {
    if word == b"all" {
        return Some(ClassSet::ALL);
    }
    let mut classes = ClassSet::default();
    for number in word.split(|&byte| byte == b',').filter(|number| !number.is_empty()) {
        classes.insert(u8::try_from(unsigned(number)?).ok()?);
    }
    Some(classes)
}

/// debugtime `<seconds>`|p|r
#[cfg(feature = "debug-commands")]
pub(super) fn debugtime<'a>(line: &[u8]) -> Read<'a> {
    use crate::command::DebugCommand;
    let word = Words::new(line).word();
    let command = word.and_then(|word| match word {
        b"p" => Some(DebugCommand::Pause),
        b"r" => Some(DebugCommand::Resume),
        secs => unsigned(secs).and_then(|secs| u32::try_from(secs).ok()).map(DebugCommand::Jump),
    });
    (command.map(Command::Debug).ok_or(WireError::UnknownCommand), false)
}

/// debugitem lock|unlock|ref|unref `<key>`
#[cfg(feature = "debug-commands")]
pub(super) fn debugitem<'a>(line: &'a [u8]) -> Read<'a> {
    use crate::command::DebugCommand;
    let mut words = Words::new(line);
    let verb = words.word();
    let key = words.word().filter(|key| key.len() <= crate::limits::KEY_LEN_MAX && !words.more());
    let command = verb.zip(key).and_then(|(verb, key)| match verb {
        b"lock" => Some(DebugCommand::Lock(key)),
        b"unlock" => Some(DebugCommand::Unlock(key)),
        b"ref" => Some(DebugCommand::Pin(key)),
        b"unref" => Some(DebugCommand::Unpin(key)),
        _ => None,
    });
    (command.map(Command::Debug).ok_or(WireError::UnknownCommand), false)
}

/// cache_memlimit ...
pub(super) fn cache_memlimit<'a>(line: &[u8]) -> Read<'a> {
    let mut words = Words::new(line);
    let (mb, last) = (words.word(), words.word());
    let Some(mb) = mb.filter(|_| !words.more()) else { return (Err(WireError::UnknownCommand), false) };
    let quiet = last.unwrap_or(mb) == NOREPLY;
    (unsigned(mb).map(|mb| Command::MemoryLimit { mb }).ok_or(WireError::UnknownCommand), quiet)
}

/// Two words and no more.
fn two<'a>(words: &mut Words<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let both = words.word().zip(words.word())?;
    (!words.more()).then_some(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_named_by_number_or_all_together() {
        let set = |numbers: &[u8]| {
            let mut set = ClassSet::default();
            numbers.iter().for_each(|&number| set.insert(number));
            Some(set)
        };
        for (word, expected) in [
            (&b"all"[..], Some(ClassSet::ALL)),
            (b"1", set(&[1])),
            (b"1,2,63", set(&[1, 2, 63])),
            (b"1,,2,", set(&[1, 2])),
            (b",", set(&[])),
            (b"255", set(&[255])),
            (b"256", None),
            (b"1,a", None),
            (b"-1", None),
            (b"1;2", None),
            (b"hash", None),
        ] {
            assert_eq!(class_set(word), expected, "{}", String::from_utf8_lossy(word));
        }
        assert!(ClassSet::ALL.contains(255) && !set(&[64]).unwrap().contains(0) && set(&[64]).unwrap().contains(64));
    }

    #[test]
    fn lines_say_what_memcacheds_say() {
        use MaintainCommand as M;
        let ok = |command| (Ok(Command::Maintain(command)), false);
        let quiet = |command| (Ok(Command::Maintain(command)), true);
        let error = (Err(WireError::UnknownCommand), false);
        for (line, expected) in [
            (&b"reassign 1 2\r\n"[..], ok(M::Reassign(Some((1, 2))))),
            (b"reassign -1 0\r\n", ok(M::Reassign(Some((-1, 0))))),
            (b"reassign 4294967297 0\r\n", ok(M::Reassign(Some((i32::MAX, 0))))),
            (b"reassign a 2\r\n", ok(M::Reassign(None))),
            (b"reassign 1 2 noreply\r\n", error),
            (b"reassign 5\r\n", error),
            (b"\r\n", error),
            (b"noreply\r\n", error),
            (b"wings 1\r\n", error),
            (b"automove\r\n", error),
            (b"automove 2 3 4\r\n", ok(M::Automove(Automove::Aggressive))),
            (b"automove 0 noreply\r\n", quiet(M::Automove(Automove::Off))),
            (b"automove 3\r\n", error),
            (b"automove noreply\r\n", (Err(WireError::BadCommandLine), true)),
            (b"automove -1\r\n", (Err(WireError::BadCommandLine), false)),
            (b"automove ratio 0.5\r\n", ok(M::AutomoveRatio(0.5.into()))),
            (b"automove ratio\r\n", error),
            (b"automove ratio x\r\n", error),
            (b"automove window 9\r\n", ok(M::AutomoveWindow(9))),
            (b"automove window\r\n", error),
        ] {
            assert_eq!(slabs(line), expected, "slabs {}", String::from_utf8_lossy(line));
        }
        for (line, expected) in [
            (&b"enable\r\n"[..], ok(M::EnableCrawler)),
            (b"enable noreply\r\n", error),
            (b"sleep 5\r\n", ok(M::CrawlerSleep(5))),
            (b"sleep\r\n", error),
            (b"sleep 5 6\r\n", error),
            (b"sleep x\r\n", (Err(WireError::BadCommandLine), false)),
            (b"tocrawl 4294967296\r\n", ok(M::CrawlerToCrawl(u32::MAX))),
            (b"crawl x\r\n", ok(M::Crawl(None))),
            (b"crawl\r\n", error),
            (b"\r\n", error),
        ] {
            assert_eq!(lru_crawler(line), expected, "lru_crawler {}", String::from_utf8_lossy(line));
        }
        let limit = |mb| Ok(Command::MemoryLimit { mb });
        for (line, expected) in [
            (&b"64\r\n"[..], (limit(64), false)),
            (b"64 x\r\n", (limit(64), false)),
            (b"64 noreply\r\n", (limit(64), true)),
            (b"noreply\r\n", (Err(WireError::UnknownCommand), true)),
            (b"-1\r\n", error),
            (b"64 x noreply\r\n", error),
            (b"\r\n", error),
        ] {
            assert_eq!(cache_memlimit(line), expected, "cache_memlimit {}", String::from_utf8_lossy(line));
        }
    }
}
