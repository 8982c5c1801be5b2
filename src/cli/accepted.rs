//! What memcached's `-o` takes and slabd has no use for: taken with one warning, so that a host's configuration goes on working.
//! What cannot be meant is refused all the same, as memcached does.

use super::flags::{bad, number};

/// What stands behind a name.
#[derive(Clone, Copy)]
enum Typed {
    /// Anything, or nothing: it is not looked at.
    Anything,
    /// A whole number within bounds.
    Number(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
}

/// Why there is nothing to do for it.
const INDEX_GROWS: &str = "the index is as large as its items need";
const NO_STORAGE: &str = "slabd keeps nothing on disk";
const NO_PROXY: &str = "slabd is no proxy";
const OBSOLETE: &str = "memcached has no use for it any more either";
const NOT_NEEDED: &str = "slabd has nothing that it would change";

const ACCEPTED: &[(&str, Typed, &str)] = &[
    ("hashpower", Typed::Number(12, 32), INDEX_GROWS),
    ("no_hashexpand", Typed::Anything, INDEX_GROWS),
    ("hash_algorithm", Typed::Word(&["jenkins", "murmur3", "xxh3"]), "slabd has one hash, with a seed of its own"),
    ("tail_repair_time", Typed::Number(10, u64::MAX), "items are not leaked, so there is none to repair"),
    ("no_chunked_items", Typed::Anything, "long items are stored in pieces"),
    ("read_buf_mem_limit", Typed::Number(0, u64::MAX), "--memory-max bounds what connections hold, with all the rest"),
    ("resp_obj_mem_limit", Typed::Number(0, u64::MAX), "--memory-max bounds what connections hold, with all the rest"),
    ("sock_cookie_id", Typed::Anything, NOT_NEEDED),
    ("inline_ascii_resp", Typed::Anything, OBSOLETE),
    ("no_inline_ascii_resp", Typed::Anything, OBSOLETE),
    ("inline_ascii_response", Typed::Anything, OBSOLETE),
    ("no_inline_ascii_response", Typed::Anything, OBSOLETE),
    ("slab_automove_freeratio", Typed::Anything, NO_STORAGE),
    ("ext_path", Typed::Anything, NO_STORAGE),
    ("ext_page_size", Typed::Anything, NO_STORAGE),
    ("ext_wbuf_size", Typed::Anything, NO_STORAGE),
    ("ext_threads", Typed::Anything, NO_STORAGE),
    ("ext_io_depth", Typed::Anything, NO_STORAGE),
    ("ext_item_size", Typed::Anything, NO_STORAGE),
    ("ext_item_age", Typed::Anything, NO_STORAGE),
    ("ext_low_ttl", Typed::Anything, NO_STORAGE),
    ("ext_drop_unread", Typed::Anything, NO_STORAGE),
    ("ext_recache_rate", Typed::Anything, NO_STORAGE),
    ("ext_compact_under", Typed::Anything, NO_STORAGE),
    ("ext_drop_under", Typed::Anything, NO_STORAGE),
    ("ext_max_frag", Typed::Anything, NO_STORAGE),
    ("ext_max_sleep", Typed::Anything, NO_STORAGE),
    ("proxy_config", Typed::Anything, NO_PROXY),
    ("proxy_arg", Typed::Anything, NO_PROXY),
    ("proxy_uring", Typed::Anything, NO_PROXY),
    ("proxy_memprofile", Typed::Anything, NO_PROXY),
];

/// Whether `item` of an `-o` list is one of these; if so, what should be said about it is among the warnings.
///
/// # Errors
/// One line, if it is one and has no value that memcached would take.
pub(super) fn accepted(item: &str, warnings: &mut Vec<String>) -> Result<bool, String> {
    let (name, typed) = item.split_once('=').map_or((item, None), |(name, typed)| (name, Some(typed)));
    let Some((name, wanted, why)) = ACCEPTED.iter().find(|(known, ..)| *known == name) else { return Ok(false) };
    let option = format!("-o/--extended {name}");
    match (wanted, typed) {
        (Typed::Anything, _) => {}
        (Typed::Number(..) | Typed::Word(_), None) => return Err(bad("-o/--extended", name, "needs a value")),
        (Typed::Number(min, max), Some(typed)) => drop(number::<u64>(&option, typed, *min, *max)?),
        (Typed::Word(words), Some(typed)) if words.contains(&typed) => {}
        (Typed::Word(words), Some(typed)) => {
            return Err(bad(&option, typed, &format!("must be one of {}", words.join(", "))));
        }
    }
    warnings.push(format!("{option}: has no effect: {why}"));
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_effect_is_said_once_and_what_cannot_be_meant_is_refused() {
        for (item, expected) in [
            ("hashpower=20", Ok(true)),
            ("hashpower", Err("-o/--extended: 'hashpower' needs a value")),
            ("hashpower=11", Err("-o/--extended hashpower: '11' must be a whole number from 12 to 32")),
            ("hash_algorithm=murmur3", Ok(true)),
            ("hash_algorithm=md5", Err("-o/--extended hash_algorithm: 'md5' must be one of jenkins, murmur3, xxh3")),
            ("no_hashexpand=1", Ok(true)),
            ("ext_path=/a/b:5G", Ok(true)),
            ("ext_drop_unread", Ok(true)),
            ("ext", Ok(false)),
            ("", Ok(false)),
        ] {
            let mut warnings = Vec::new();
            assert_eq!(accepted(item, &mut warnings), expected.map_err(str::to_owned), "{item}");
            assert_eq!(warnings.len(), usize::from(expected == Ok(true)), "{item}: {warnings:?}");
        }
    }
}
