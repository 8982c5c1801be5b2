//! How a client wants to be answered: what a protocol's parser leaves for the same protocol's encoder, and nobody else reads.
//!
//! Small and owned, because it outlives the request line while a value arrives.

use crate::limits::OPAQUE_LEN_MAX;

/// How to answer. Filled by a protocol's parser, read by the same protocol's encoder only; small and owned, because it
/// outlives the request line while a value arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyShape {
    /// Say nothing (`noreply`), errors of the request itself included, as memcached does.
    pub quiet: bool,
    /// Name the CAS number of hits (gets, gats).
    pub with_cas: bool,
    /// As a meta command asks, which `quiet` does not concern.
    pub meta: Option<MetaShape>,
    /// What a meta command wants echoed.
    pub opaque: Opaque,
}

/// How to answer a meta command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaShape {
    /// What to tell, in order: codes of four bits, the first lowest.
    pub told: u64,
    /// Say nothing if all is as expected.
    pub hushed: bool,
    /// Tell the value.
    pub value: bool,
    /// The key came in base64.
    pub key_is_base64: bool,
}

/// A client's own mark on a request, to be echoed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opaque {
    len: u8,
    bytes: [u8; OPAQUE_LEN_MAX],
}

impl Opaque {
    /// Of these bytes, unless they are too many.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; OPAQUE_LEN_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self { len: u8::try_from(text.len()).ok()?, bytes })
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

const _: () = assert!(size_of::<ReplyShape>() <= 64);
