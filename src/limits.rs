//! Bounds and sizes of the daemon, in one place, with proofs of how they relate.
//!
//! What a client can make long, many or slow has its bound here. Numbers that belong to one algorithm, and that no client can move, stand
//! beside it.

// ---- what the wire allows -------------------------------------------------------------------------------------

/// Longest key in bytes (memcached's `KEY_MAX_LENGTH`).
pub const KEY_LEN_MAX: usize = 250;

/// Longest request line in bytes, its newline not counted, for everything but `get`, `gets`, `gat`, `gats`.
pub const LINE_LEN_MAX: usize = 2048;

/// Longest `get`/`gets`/`gat`/`gats` line in bytes: some 4000 keys of the greatest length.
pub const GET_LINE_LEN_MAX: usize = 1 << 20;

/// Blanks before a get that do not yet make a long line endless.
pub const BLANKS_BEFORE_GET_MAX: usize = 100;

/// Bytes behind a value: `\r\n`.
pub const TERMINATOR_LEN: u64 = 2;

/// Longest value that may be announced (memcached's: with its terminator it fits 31 bits). How much is stored is the store's to say.
pub const VALUE_LEN_MAX: u64 = (1 << 31) - 1 - TERMINATOR_LEN;

/// Longest head of a reply before its value: what `mg` answers with every flag, which is the longest, and room to spare.
pub const REPLY_HEAD_LEN_MAX: usize = KEY_LEN_MAX + 192;

/// Flags of one meta command.
pub const META_FLAGS_MAX: usize = 20;

/// Longest opaque token of a meta command, in bytes.
pub const OPAQUE_LEN_MAX: usize = 31;

/// Seconds a lease is good for.
pub const LEASE_SECS: i64 = 10;

/// The token that says that somebody else has the lease. No CAS number of ours is as low.
pub const LEASE_TAKEN: u64 = 1;

// ---- the store ------------------------------------------------------------------------------------------------

/// The unit that moves between classes, in bytes, in a memory of a gigabyte or more.
pub const PAGE_LEN_MAX: usize = 1 << 20;

/// The same in a small memory, in bytes: see [`PAGES_WANTED`].
pub const PAGE_LEN_MIN: usize = 32 << 10;

/// Pages a memory is cut into at least, as long as they are no smaller than [`PAGE_LEN_MIN`], nor than a page of the system or a chunk that
/// an operator asks for: with a hundred classes or so, fewer
/// would be all first pages.
pub const PAGES_WANTED: u64 = 1024;

/// Chunks in a page of the largest class. Items that are longer than such a chunk are cut into pieces of its length.
pub const LARGEST_CHUNKS_PER_PAGE: usize = 4;

/// The largest chunk has this many bytes at least, even if fewer of them fit a page.
pub const LARGEST_CHUNK_LEN_MIN: usize = 16 << 10;

/// Classes, at most.
pub const CLASSES_MAX: usize = 127;

/// Largest `-I`, in bytes: value lengths have 30 bits.
pub const ITEM_LEN_MAX: usize = 1 << 30;

/// Smallest `-m`, in bytes: a few pages, so that every size has somewhere to go.
pub const MEMORY_LEN_MIN: u64 = 8 << 20;

/// Bytes there may be for each class in use, in whole pages, whatever `-m` says: short pages do for a small memory what first pages of a
/// mebibyte do in memcached, which lie beyond `-m` there. A memory whose pages are longer than this has none of it.
// Sizes of 50 to 5000 bytes make 67 classes. In 8 MiB they have 3.8 pages each, and a trace of such sizes (web12) missed 1.03 times as often as
// in memcached, which has 17.8 MB of first pages then; no policy that keeps to 8 MiB comes to 1.01 (GDSF over single items: 1.012). With 9 MiB
// it is 1.014, with these 10.5 MiB 0.99. From 13 MiB on it makes no difference.
pub const CLASS_LEN_MIN: usize = 5 * PAGE_LEN_MIN;

/// Smallest `--memory-max`, in bytes: the least `-m`, and as much again for everything else.
pub const PROCESS_LEN_MIN: u64 = 2 * MEMORY_LEN_MIN;

/// Largest `-m`, in bytes: what a 32-bit handle can name in its largest unit of 512 bytes.
pub const MEMORY_LEN_MAX: u64 = 1 << 40;

/// What `cache_memlimit` can raise the memory to, as a multiple of what it was at the start. Room for it is address space.
/// (Under Miri it would be memory.)
pub const MEMORY_GROWTH_MAX: u64 = if cfg!(miri) { 1 } else { 16 };

/// Values at least this long are pinned and written from the arena; shorter ones are copied under the bucket lock. Less than what
/// any value in pieces has.
pub const PIN_VALUE_MIN: usize = 15 << 10;

/// Slots in one bucket of the index.
pub const BUCKET_SLOTS: usize = 8;

/// Items per bucket at which the index splits one more bucket: 75 % of the slots.
pub const BUCKET_FILL: usize = 6;

/// Buckets of the index are merged when there are fewer items than a part in so many of those at which they are split.
pub const MERGE_PARTS: u64 = 2;

/// Buckets the index starts with, as a power of two.
pub const INDEX_LEVEL_MIN: u32 = 12;

/// Items looked at, at most, in one attempt to make room in a class.
pub const EVICT_STEPS_MAX: usize = 64;

/// Victims looked for, at most, to make room for one item whose page is emptied.
pub const RELOCATE_TRIES_MAX: usize = 4;

/// The part of a page's chunks that a class evicts before it asks for another page: one that has just got one asks for the next when
/// that is full.
pub const ASK_AFTER_PART: u32 = 8;

/// Pages that are emptied, at most, to have one for a class.
pub const DRAIN_TRIES_MAX: usize = 4;

/// Slices of a page that is carved to its end, at most, before its class is given another.
pub const CARVE_TRIES_MAX: usize = PAGE_LEN_MAX / 40 / EVICT_STEPS_MAX + 8;

/// Chunks looked at in one slice of a sweep.
pub const SWEEP_SLICE: u32 = 64;

/// Pages passed over in search of one that has something due, in one slice of a sweep.
pub const SWEEP_PAGES_MAX: usize = 1024;

/// Seconds, or flushes, after which a page is swept again though nothing is known to be due in it.
pub const SWEEP_AGE_SECS: u32 = 3600;

/// Flushes that sweep, at most, in one turn of a worker.
pub const TURN_HELPS_MAX: usize = 16;

/// Pages of the store for each slice that a flush sweeps while stamps are short.
pub const HELPED_PAGES: u32 = 4096;

/// Slices swept, at most, for one chunk where nothing may be evicted.
pub const SWEEPS_MAX: usize = 256;

/// Items spared for their uses, at most, in one attempt to make room.
pub const EVICT_SPARED_MAX: usize = EVICT_STEPS_MAX / 2;

/// Items evicted, at most, when room is needed for one: the class is locked and their buckets are fetched all at once.
pub const EVICT_BATCH: usize = 8;

/// Bytes of chunks evicted, at most, when room is needed for one.
pub const EVICT_BATCH_BYTES: usize = 16 << 10;

/// Items a class has, at least, for each that it evicts at a time.
pub const ITEMS_PER_VICTIM: usize = 128;

/// CAS numbers a worker takes from the shared counter at a time. What is left of them when another worker has taken some is thrown
/// away: more would use numbers up faster than the time they begin from goes on, as these do beyond a million turns that store in a second.
pub const CAS_BLOCK: u64 = 16;

/// Seconds an item's time of last access may lag behind (memcached's `ITEM_UPDATE_INTERVAL`).
pub const ACCESS_LAG_SECS: u32 = 60;

// ---- the maintainer ------------------------------------------------------------------------------------------

/// Milliseconds the maintainer rests at least after it has worked, whoever calls it: it is not woken more often.
pub const MAINTAIN_PAUSE_MS: u64 = 1;

/// Microseconds of work in one step of the maintainer.
pub const MAINTAIN_STEP_US: u64 = 200;

/// Milliseconds between two looks at a page that is being emptied and in which something is held.
pub const MOVE_RETRY_MS: u64 = 10;

/// Such looks after which what readers hold in a page that an operator moves is evicted: their pins are no use to anybody else.
pub const MOVE_PATIENCE: u32 = 100;

/// Milliseconds between two looks at how much memory the process has, where that is bounded.
pub const MEMORY_LOOK_MS: u64 = 10;

/// Milliseconds the maintainer rests when all there was to do is done.
pub const MAINTAIN_REST_MS: u64 = 500;

/// Milliseconds for which a class must have had free chunks that it did not want, before it gives pages of them to the pool.
pub const SPARE_LOOK_MS: u64 = 1000;

// ---- one client ----------------------------------------------------------------------------------------------

/// Requests (keys of a multi-key get count one each) parsed ahead, so that their memory is on its way when they run.
pub const BATCH_REQUESTS_MAX: usize = 32;

/// Values up to this long are waited for together with their line; longer ones are received into their chunk as they come.
pub const WAIT_VALUE_MAX: usize = 4096;

/// Bytes a value must miss to be read from the socket straight into its chunk.
pub const DIRECT_READ_MIN: usize = 16 << 10;

/// Bytes of answers a connection may owe before its requests are left unread.
pub const OUTPUT_LEN_MAX: usize = 256 << 10;

/// Bytes set aside for them: the last answer, or its head if its value is pinned, is finished. What is longer than that is a report.
pub const OUTBOX_LEN_MAX: usize = OUTPUT_LEN_MAX + PIN_VALUE_MIN + REPLY_HEAD_LEN_MAX;

/// Bytes that a pin takes in an outbox, at most.
pub const PIN_LEN_MAX: usize = 64;

/// Bytes of memory that an outbox takes, at most, if there is no long report in it: of answers, and of as many pins as they can have.
pub const OUTBOX_MEMORY_MAX: usize =
    OUTBOX_LEN_MAX + PIN_LEN_MAX * (OUTPUT_LEN_MAX / PIN_VALUE_MIN + 2).next_power_of_two();

/// Bytes of input one connection may have served in one turn before the others get theirs.
pub const TURN_INPUT_MAX: usize = 256 << 10;

/// Bytes of answers one connection may have written in one turn before the others get theirs.
pub const TURN_OUTPUT_MAX: usize = 4 * TURN_INPUT_MAX;

/// Bytes of values that may be moved in one turn of a connection because something was added to them, about a millisecond's; the one that
/// goes beyond it is finished.
pub const TURN_COPIED_MAX: usize = 4 << 20;

/// Bytes copied to add to a value in pieces that others change meanwhile, beyond which it is not tried again; two copies of a longer one.
pub const EXTENSION_COPIED_MAX: usize = 64 << 20;

/// Bytes of long reports, of all clients, that have not been taken, beyond which no more are made. A report has up to 20 MB, some
/// 50 where prefixes are of bytes that are told as three. They are told from other answers by what an outbox has beyond [`OUTBOX_MEMORY_MAX`]: those are bounded without this, by `-c`.
pub const REPORTS_LEN_MAX: u64 = 64 << 20;

/// Answers of `stats` to one connection in one turn: they are put together from all threads' counters.
pub const TURN_REPORTS_MAX: usize = 16;

/// Requests (keys of a multi-key get count one each) of one connection served without a break, if `-R` does not say
/// otherwise: short ones are work out of all proportion to their bytes. About a quarter of a millisecond.
pub const TURN_REQUESTS_MAX: u32 = 2048;

/// What a round of serving costs at least, of either budget: a bound on rounds that move next to nothing.
pub const ROUND_COST_MIN: usize = 1 << 10;

/// Unserved input a connection may hold: the longest line, and what was read along with its end.
pub const PENDING_LEN_MAX: usize = GET_LINE_LEN_MAX + READ_BUFFER_LEN;

/// A buffer of unserved input that is longer than this is charged to what all such buffers may have.
pub const LONG_INPUT_LEN: usize = 16 << 10;

/// Of the bound on the whole process (`--memory-max`) a part in so many is what all buffers of more than [`LONG_INPUT_LEN`] may have, for
/// requests that are not complete.
pub const LONG_INPUT_PARTS: u64 = 16;

/// Unserved input up to this length is copied in front of what is read next; longer input is appended to instead.
pub const JOIN_LEN_MAX: usize = 2 * LINE_LEN_MAX;

/// Answers at least this long are written at once; shorter ones wait for the turn's write phase.
pub const WRITE_AT_ONCE_LEN: usize = 32 << 10;

/// Pieces given to one vectored write.
pub const WRITE_PIECES_MAX: usize = 64;

/// Seconds a client that was told goodbye may go on sending before its socket is closed under it.
pub const LINGER_SECS_MAX: u32 = 2;

/// Longest `user password` that a client may log in with, and longest line of the file of users, in bytes.
pub const AUTH_TOKEN_LEN_MAX: usize = 1024;

/// Rounds of a hashed password, at most: some ten milliseconds of a worker.
pub const AUTH_ROUNDS_MAX: u64 = 20_000;

/// Longest password, in bytes, of a user whose password is hashed.
pub const AUTH_HASHED_LEN_MAX: usize = 128;

/// Users in the file, at most: each login is compared with all of them.
pub const AUTH_USERS_MAX: usize = 256;

/// Longest file of users, in bytes.
pub const AUTH_FILE_LEN_MAX: usize = 64 << 10;

// ---- dumps and watchers ----------------------------------------------------------------------------------------

/// Clients that watch at a time (memcached's).
pub const WATCHERS_MAX: usize = 20;

/// Kilobytes of a thread's log or of a watcher's lines, at least and at most.
pub const LOG_KB_MIN: usize = 1;
/// See [`LOG_KB_MIN`].
pub const LOG_KB_MAX: usize = 64 << 10;

/// Longest entry of a log, in bytes: what is longer is cut.
pub const LOG_ENTRY_LEN_MAX: usize = 512;

/// Bytes of a log's entries put into words in one turn, about half a millisecond's; the last entry may go beyond it. No more than a log
/// has by default, so that what they become fits a watcher that reads.
pub const WATCH_PUMP_LEN: usize = 64 << 10;

/// Bytes of lines handed to a watcher's connection in one turn.
pub const WATCH_TAKE_LEN: usize = OUTPUT_LEN_MAX;

/// Milliseconds between two looks at what threads have noted for watchers, while they note something.
pub const WATCH_PUMP_MS: u64 = 1;

/// The same while they do not.
pub const WATCH_POLL_MS: u64 = 20;

/// Buckets of the index, or chunks of a page, that one slice of a dump looks at, at most.
pub const DUMP_SLICE: u32 = 256;

/// Bytes of a slice of a dump after which it ends.
pub const DUMP_SLICE_LEN: usize = 64 << 10;

/// Bytes set aside for the lines of one bucket, before it is locked; a longer chain than such a one is rare.
pub const DUMP_BUCKET_LEN: usize = 4 * BUCKET_SLOTS * DUMP_LINE_LEN_MAX;

/// Longest line of a dump: a key of which each byte is escaped, and numbers.
pub const DUMP_LINE_LEN_MAX: usize = 3 * KEY_LEN_MAX + 192;

/// A worker with other clients rests for so many times what it has worked at a slice of a dump.
pub const DUMP_REST: u32 = 11;

/// Seconds for which a dump that does not go on keeps others from beginning theirs.
pub const DUMP_STALL_SECS: u32 = 30;

/// Chunks of a list that `stats cachedump` looks at under one lock.
pub const CACHEDUMP_SLICE: u32 = 32;

/// Bytes that `stats cachedump` tells, at most (memcached's).
pub const CACHEDUMP_LEN_MAX: usize = 2 << 20;

// ---- the server ----------------------------------------------------------------------------------------------

/// The shared read buffer of a worker, in bytes.
pub const READ_BUFFER_LEN: usize = 64 << 10;

/// Output buffers a worker keeps for reuse; more than this many ready connections allocate.
pub const SPARE_BUFFERS_MAX: usize = 256;

/// Capacity, in bytes, above which a buffer is freed rather than kept for reuse: a full outbox is kept, because a
/// connection that fills one will fill the next, and an allocation of that size comes with page faults.
pub const SPARE_BUFFER_LEN_MAX: usize = 2 * OUTPUT_LEN_MAX;

/// Bytes of buffers a worker keeps for reuse, all together.
pub const SPARE_BYTES_MAX: usize = 4 << 20;

/// Sockets waiting to be adopted by one worker.
pub const INBOX_LEN_MAX: usize = 1024;

/// Sockets accepted from one listener before the next listener is looked at.
pub const ACCEPT_BATCH_MAX: usize = 64;

/// Events taken from the kernel at a time.
pub const EVENTS_MAX: usize = 1024;

/// Milliseconds a stopping daemon waits for answers to leave.
pub const DRAIN_MS_MAX: u64 = 2000;

/// Milliseconds a worker sleeps at most while a login waits to be checked.
pub const LOGIN_POLL_MS: u64 = 10;

/// Milliseconds a worker sleeps at most while it has timeouts to look after.
pub const TIMEOUT_POLL_MS: u64 = 100;

/// Seconds a client may take for its TLS handshake.
pub const TLS_HANDSHAKE_SECS_MAX: u32 = 10;

/// Bytes of TLS that may wait to be understood: more than any record, and than any handshake with a certificate or two.
pub const TLS_HANDSHAKE_LEN_MAX: usize = 32 << 10;

/// Bytes of sealed records written to a socket at a time.
pub const TLS_SEALED_LEN: usize = 80 << 10;

/// Longest file of certificates or of a key, in bytes.
pub const TLS_FILE_LEN_MAX: u64 = 1 << 20;

/// Connections looked at for idleness in one turn of a worker.
pub const IDLE_STEP_MAX: usize = 256;

/// Milliseconds after which the acceptor looks whether certificates are to be read again, where workers may not.
pub const TLS_RELOAD_MS: u64 = 100;

/// Milliseconds the acceptor waits when the system has no descriptor left, or no worker has room.
pub const ACCEPT_BACKOFF_MS: u64 = 50;

/// Bytes of a datagram that is sent, its header included (memcached's `UDP_MAX_PAYLOAD_SIZE`).
pub const UDP_DATAGRAM_LEN: usize = 1400;

/// Times what it sent that a source of datagrams on the Internet is sent at most.
pub const UDP_FACTOR_MAX: usize = 3;

/// Bytes of headers of IP and UDP before a datagram, at least.
pub const UDP_OVERHEAD_LEN: usize = 28;

/// Bytes a second that one private network may be sent, in datagrams, beyond what it sends.
pub const UDP_RATE: u32 = 256 << 10;

/// The same that may be saved up: a value of the default largest size, its line and some more.
pub const UDP_BURST_MAX: u32 = (1 << 20) + (1 << 10);

/// Bytes of an answer in datagrams, at most; a longer one is refused.
pub const UDP_REPLY_LEN_MAX: usize = UDP_BURST_MAX as usize;

/// Sources of datagrams that are told apart, more or less.
pub const UDP_SOURCES: usize = 4096;

/// Uses of keys for each that is looked at, about, to find the hot ones.
pub const HOTKEYS_SAMPLE: u64 = 256;

/// Keys that each thread keeps a count of for that.
pub const HOTKEYS_KEPT: usize = 128;

/// Hot keys that are told, at most.
pub const HOTKEYS_TOLD: usize = 32;

/// Seconds in which what has been seen of keys comes to count half.
pub const HOTKEYS_HALF_LIFE_SECS: u32 = 60;

/// Prefixes of keys that `stats detail` tells apart, at most (memcached's bound).
pub const PREFIXES_MAX: usize = 1 << 16;

/// Connections that `stats conns` tells of, at most.
pub const CONNS_TOLD_MAX: usize = 4096;

/// Sockets of clients that ask for metrics, at most: the one that has waited longest makes room.
pub const METRICS_CONNS_MAX: usize = 16;

/// Such sockets that wait to be accepted.
pub const METRICS_BACKLOG: u32 = 16;

/// Header lines of a request for metrics, at most.
pub const METRICS_HEADERS_MAX: usize = 64;

/// Bytes of a request for metrics, at most.
pub const METRICS_REQUEST_LEN_MAX: usize = 8 << 10;

/// Seconds such a client may take from connecting to having its answer.
pub const METRICS_SECS_MAX: u64 = 5;

/// Descriptors that are not connections: standard streams, listeners, polls, signals, clients that ask for metrics, and some to spare.
pub const DESCRIPTORS_OF_OURS: usize = 64;

/// Descriptors of a worker: a poll and a waker.
pub const DESCRIPTORS_PER_THREAD: usize = 2;

/// Most worker threads.
pub const THREADS_MAX: usize = 1024;

/// Whether a chunk has room for the head of an item of `item_len` bytes in pieces of its own length: with a header, the longest
/// key, and four bytes for each piece.
#[must_use]
pub const fn chunk_names_pieces(chunk_len: usize, item_len: usize) -> bool {
    // A header, a CAS number and a count of pins; and the piece's own header.
    let (head_len, piece_head_len) = (40 + KEY_LEN_MAX, 24);
    chunk_len > head_len && (item_len / (chunk_len - piece_head_len) + 1) * 4 + head_len <= chunk_len
}

const _: () = assert!(KEY_LEN_MAX <= u8::MAX as usize);
const _: () = assert!(PIN_VALUE_MIN + REPLY_HEAD_LEN_MAX <= OUTPUT_LEN_MAX / 4);
const _: () = assert!(LINE_LEN_MAX + 2 <= READ_BUFFER_LEN);
const _: () = assert!(BUCKET_FILL < BUCKET_SLOTS);
const _: () = assert!(EVICT_BATCH_BYTES <= LARGEST_CHUNK_LEN_MIN);
const _: () = assert!(PIN_VALUE_MIN + REPLY_HEAD_LEN_MAX <= LARGEST_CHUNK_LEN_MIN);
const _: () = assert!(LARGEST_CHUNK_LEN_MIN <= PAGE_LEN_MIN);
const _: () = assert!(GET_LINE_LEN_MAX >= READ_BUFFER_LEN);
const _: () = assert!(JOIN_LEN_MAX <= READ_BUFFER_LEN / 4);
const _: () = assert!(UDP_REPLY_LEN_MAX / UDP_DATAGRAM_LEN < u16::MAX as usize);
const _: () = assert!(WRITE_AT_ONCE_LEN <= OUTPUT_LEN_MAX);
const _: () = assert!(SPARE_BUFFER_LEN_MAX <= SPARE_BYTES_MAX);
