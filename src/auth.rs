//! Who may use the daemon: users and their secrets, from a file.
//!
//! ```text
//!   alice:open sesame                  the secret as it is
//!   bob:$6$salt$hash                   its hash, as `openssl passwd -6` and `mkpasswd` make it (SHA-crypt, $5$ or $6$)
//! ```
//!
//! **What a stranger can learn.** Nothing by the clock: a name and a secret are compared as digests, with every entry, in constant time;
//! and where the file has hashes, whoever is not let in by a comparison alone has one hash computed for him, whether the name is known or not.
//!
//! **What a stranger can cost.** A hash takes milliseconds, by design. One is computed at a time, and none for nine times as long after
//! it; who comes meanwhile waits ([`Verdict::Later`]). A secret that has been right once is remembered as a digest, so that this is over
//! before it begins for everybody who has a right to be here.
//!
//! A reload puts a new list in the place of the old one at once; a file that cannot be read leaves the old one. Connections that were let in
//! stay.
//!
//! Not here: how a login looks on the wire (`session/login.rs`).

use crate::limits::{AUTH_FILE_LEN_MAX, AUTH_HASHED_LEN_MAX, AUTH_ROUNDS_MAX, AUTH_TOKEN_LEN_MAX, AUTH_USERS_MAX};
use sha_crypt::{PasswordHash, PasswordVerifier, ShaCrypt};
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};
use subtle::{Choice, ConstantTimeEq};

/// Users, as the file has them now.
#[derive(Debug)]
pub struct Auth {
    path: PathBuf,
    users: RwLock<Arc<Users>>,
    /// When the next hash may be computed; held while one is.
    next_hash: Mutex<Option<Instant>>,
}

/// What is said to somebody who wants to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The secret is the user's.
    Granted,
    /// It is not, or there is no such user.
    Denied,
    /// Ask again when [`Auth::can_verify`] says so.
    Later,
}

/// Rest after a hash, in units of the time it took.
const REST: u32 = 9;

impl Auth {
    /// Reads a file of users.
    ///
    /// # Errors
    /// Why it cannot be used, in one line.
    pub fn load(path: &Path) -> Result<Self, String> {
        let users = Users::read(path)?;
        Ok(Self { path: path.to_owned(), users: RwLock::new(Arc::new(users)), next_hash: Mutex::new(None) })
    }

    /// Reads the file again; how many users it has now.
    ///
    /// # Errors
    /// Why it cannot be used; then those who were in it before are still let in, and nobody else.
    pub fn reload(&self) -> Result<usize, String> {
        let users = Users::read(&self.path)?;
        let count = users.entries.len();
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
        Ok(count)
    }

    /// Whether a check that needs a hash would be made now.
    #[must_use]
    pub fn can_verify(&self) -> bool {
        self.next_hash.try_lock().is_ok_and(|next| next.is_none_or(|next| next <= Instant::now()))
    }

    /// Whether this is the user's secret.
    #[must_use]
    pub fn check(&self, user: &[u8], secret: &[u8]) -> Verdict {
        let users = Arc::clone(&self.users.read().unwrap_or_else(PoisonError::into_inner));
        let (name, proof) = (users.digest(&[user]), users.digest(&[user, secret]));
        let mut granted = Choice::from(0);
        let mut hashed = None;
        for entry in &users.entries {
            let is_user = entry.name.ct_eq(&name);
            match &entry.secret {
                Secret::Plain(known) => granted |= is_user & known.ct_eq(&proof),
                Secret::Hashed { hash, proven } => {
                    granted |= is_user & proven.get().unwrap_or(&[0; DIGEST_LEN]).ct_eq(&proof);
                    if hashed.is_none() || bool::from(is_user) {
                        hashed = Some((hash, proven, is_user));
                    }
                }
            }
        }
        if granted.into() {
            return Verdict::Granted;
        }
        let Some((hash, proven, is_user)) = hashed else { return Verdict::Denied };
        // The time a hash takes grows with the secret.
        if secret.len() > AUTH_HASHED_LEN_MAX {
            return Verdict::Denied;
        }
        let Ok(mut next) = self.next_hash.try_lock() else { return Verdict::Later };
        let begun = Instant::now();
        if next.is_some_and(|next| next > begun) {
            return Verdict::Later;
        }
        let matches = Choice::from(u8::from(ShaCrypt::default().verify_password(secret, hash).is_ok()));
        let took = begun.elapsed().min(Duration::from_secs(1));
        *next = Some(Instant::now() + took * REST);
        if (matches & is_user).into() {
            // Whoever was first has the same digest.
            let _ = proven.set(proof);
            return Verdict::Granted;
        }
        Verdict::Denied
    }
}

const DIGEST_LEN: usize = 32;

/// One reading of the file.
pub(crate) struct Users {
    /// Of this reading: digests say nothing about those of another.
    salt: [u8; 32],
    /// What decides how long a hash takes: the same for all, or the clock would tell who is a user.
    cost: Option<String>,
    entries: Vec<Entry>,
}

struct Entry {
    name: [u8; DIGEST_LEN],
    secret: Secret,
}

enum Secret {
    Plain([u8; DIGEST_LEN]),
    Hashed {
        hash: PasswordHash,
        /// The digest of user and secret, once the secret has been right.
        proven: OnceLock<[u8; DIGEST_LEN]>,
    },
}

impl Users {
    fn read(path: &Path) -> Result<Self, String> {
        let cannot = |why: &dyn fmt::Display| format!("cannot read {}: {why}", path.display());
        let mut text = Vec::new();
        let file = File::open(path).map_err(|error| cannot(&crate::sys::process::reason(&error)))?;
        file.take(AUTH_FILE_LEN_MAX as u64 + 1)
            .read_to_end(&mut text)
            .map_err(|error| cannot(&crate::sys::process::reason(&error)))?;
        if text.len() > AUTH_FILE_LEN_MAX {
            return Err(cannot(&format!("more than {AUTH_FILE_LEN_MAX} bytes")));
        }
        Self::parse(&text).map_err(|why| format!("{} {why}", path.display()))
    }

    /// Reads the text of a file. An error is what follows its name.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let mut users = Self { salt: salt(), cost: None, entries: Vec::new() };
        for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let number = number + 1;
            if line.len() > AUTH_TOKEN_LEN_MAX {
                return Err(format!("line {number}: more than {AUTH_TOKEN_LEN_MAX} bytes"));
            }
            let Some(colon) = line.iter().position(|&byte| byte == b':') else {
                return Err(format!("line {number}: malformed entry, should be 'user:password'"));
            };
            let (user, secret) = (&line[..colon], &line[colon + 1..]);
            if user.is_empty() || secret.is_empty() {
                return Err(format!("line {number}: a user or a password is empty"));
            }
            let name = users.digest(&[user]);
            if users.entries.iter().any(|entry| entry.name == name) {
                return Err(format!("line {number}: the user is there already"));
            }
            if users.entries.len() == AUTH_USERS_MAX {
                return Err(format!("line {number}: more than {AUTH_USERS_MAX} users"));
            }
            if rounds_of(secret).is_some_and(|rounds| rounds > AUTH_ROUNDS_MAX) {
                return Err(format!(
                    "line {number}: more than {AUTH_ROUNDS_MAX} rounds, for which clients would have to wait"
                ));
            }
            let secret = match hash_in(secret) {
                Some(Ok(hash)) => Secret::Hashed { hash, proven: OnceLock::new() },
                Some(Err(())) => return Err(format!("line {number}: looks like a hash ($5$ or $6$) and is none")),
                None => Secret::Plain(users.digest(&[user, secret])),
            };
            if let Secret::Hashed { hash, .. } = &secret {
                let cost = cost_of(hash.as_str());
                if *users.cost.get_or_insert_with(|| cost.to_owned()) != cost {
                    return Err(format!("line {number}: hashes must all be of one kind and have as many rounds"));
                }
            }
            users.entries.push(Entry { name, secret });
        }
        if users.entries.is_empty() {
            return Err("has no user in it".to_owned());
        }
        Ok(users)
    }

    fn digest(&self, parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
        let mut digest = Sha256::new();
        digest.update(self.salt);
        for part in parts {
            // With their lengths, so that no two lists of parts are the same bytes.
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

/// The kind of a hash and its rounds, as it begins.
fn cost_of(hash: &str) -> &str {
    match hash.get(3..).filter(|rest| rest.starts_with("rounds=")).and_then(|rest| rest.find('$')) {
        Some(end) => &hash[..3 + end],
        None => &hash[..3],
    }
}

/// How often a hash says that it goes round, if it does; a number that is none is found out as no hash.
fn rounds_of(secret: &[u8]) -> Option<u64> {
    let digits = secret.strip_prefix(b"$5$rounds=").or_else(|| secret.strip_prefix(b"$6$rounds="))?;
    let digits = digits.split(|&byte| byte == b'$').next()?;
    // One that is too long for a number is too many as well.
    std::str::from_utf8(digits).ok().map(|digits| digits.trim_start_matches('+').parse().unwrap_or(u64::MAX))
}

/// The hash that a secret in the file is, if it begins like one.
fn hash_in(secret: &[u8]) -> Option<Result<PasswordHash, ()>> {
    if !(secret.starts_with(b"$5$") || secret.starts_with(b"$6$")) {
        return None;
    }
    let hash = std::str::from_utf8(secret).ok().and_then(|text| PasswordHash::new(text).ok());
    // One that cannot be checked would be found out by the first who logs in.
    let hash = hash.filter(|hash| {
        let error = ShaCrypt::default().verify_password(b"", hash).err();
        error.is_none_or(|error| error == sha_crypt::password_hash::Error::PasswordInvalid)
    });
    Some(hash.ok_or(()))
}

/// Not to be guessed, as far as the standard library's hashers are seeded by the system.
fn salt() -> [u8; 32] {
    let mut salt = [0; 32];
    for word in salt.chunks_exact_mut(8) {
        word.copy_from_slice(&RandomState::new().hash_one(0).to_ne_bytes());
    }
    salt
}

/// Secrets are not for logs.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} users", self.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(text: &str) -> Result<Auth, String> {
        let users = Users::parse(text.as_bytes())?;
        Ok(Auth { path: PathBuf::new(), users: RwLock::new(Arc::new(users)), next_hash: Mutex::new(None) })
    }

    /// "secret", by `openssl passwd -6 -salt saltsalt` and `-5`.
    const SIX: &str =
        "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1";
    const FIVE: &str = "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA";

    #[test]
    fn a_user_is_known_by_the_whole_secret_only() {
        let auth = auth("foo:bar\nfoo2:a b:c \r\n\nfo:obar").unwrap();
        for (user, secret, verdict) in [
            ("foo", "bar", Verdict::Granted),
            ("foo2", "a b:c ", Verdict::Granted),
            ("fo", "obar", Verdict::Granted),
            ("foo", "ba", Verdict::Denied),
            ("foo", "barr", Verdict::Denied),
            ("foo", "", Verdict::Denied),
            ("", "", Verdict::Denied),
            ("", "bar", Verdict::Denied),
            ("foo2", "bar", Verdict::Denied),
            ("FOO", "bar", Verdict::Denied),
            ("nobody", "bar", Verdict::Denied),
            ("foo", &"x".repeat(5000), Verdict::Denied),
        ] {
            assert_eq!(auth.check(user.as_bytes(), secret.as_bytes()), verdict, "{user} {secret:.20}");
        }
    }

    #[test]
    fn hashes_are_checked_one_at_a_time_and_remembered_when_right() {
        let auth = auth(&format!("a:{SIX}\nb:{SIX}\nc:plain")).unwrap();
        let at_last = |user: &str, secret: &str| loop {
            match auth.check(user.as_bytes(), secret.as_bytes()) {
                Verdict::Later => std::thread::sleep(Duration::from_millis(1)),
                verdict => return verdict,
            }
        };
        assert!(auth.can_verify());
        assert_eq!(at_last("a", "wrong"), Verdict::Denied);
        assert_eq!(auth.check(b"a", b"secret"), Verdict::Later, "a hash has just been computed");
        assert!(!auth.can_verify());
        assert_eq!(auth.check(b"c", b"plain"), Verdict::Granted, "needs none");
        assert_eq!(auth.check(b"stranger", b"plain"), Verdict::Later, "strangers have one computed, too");
        assert_eq!(at_last("a", "secret"), Verdict::Granted);
        assert_eq!(auth.check(b"a", b"secret"), Verdict::Granted, "remembered");
        assert_eq!(at_last("b", "secret"), Verdict::Granted);
        for (user, secret) in [("a", "wrong"), ("b", "Secret"), ("stranger", "secret"), ("c", "secret")] {
            assert_eq!(at_last(user, secret), Verdict::Denied, "{user}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_meant_is_refused_with_its_line() {
        let long = format!("a:{}", "x".repeat(AUTH_TOKEN_LEN_MAX));
        let many: String = (0..=AUTH_USERS_MAX).map(|n| format!("u{n}:x\n")).collect();
        for (text, want) in [
            ("", "has no user in it"),
            ("\n\r\n", "has no user in it"),
            ("a:b\nfoo", "line 2: malformed entry, should be 'user:password'"),
            ("foo:", "line 1: a user or a password is empty"),
            (":bar", "line 1: a user or a password is empty"),
            ("a:b\na:c", "line 2: the user is there already"),
            ("a:$6$nonsense", "line 1: looks like a hash ($5$ or $6$) and is none"),
            ("a:$6$rounds=20001$salt$x", "line 1: more than 20000 rounds, for which clients would have to wait"),
            (
                "a:$5$rounds=99999999999999999999$salt$x",
                "line 1: more than 20000 rounds, for which clients would have to wait",
            ),
            ("a:$5$\u{e4}", "line 1: looks like a hash ($5$ or $6$) and is none"),
            (&long, "line 1: more than 1024 bytes"),
            (&format!("a:{SIX}\nb:{FIVE}"), "line 2: hashes must all be of one kind and have as many rounds"),
            (&many, "line 257: more than 256 users"),
        ] {
            assert_eq!(auth(text).unwrap_err(), want);
        }
    }

    #[test]
    fn a_reload_takes_effect_at_once_and_a_bad_file_changes_nothing() {
        let path = std::env::temp_dir().join(format!("slabd-{}-auth", std::process::id()));
        std::fs::write(&path, "a:1").unwrap();
        let auth = Auth::load(&path).unwrap();
        std::fs::write(&path, "b:2\nc:3").unwrap();
        assert_eq!(auth.check(b"a", b"1"), Verdict::Granted);
        assert_eq!(auth.reload(), Ok(2));
        assert_eq!((auth.check(b"a", b"1"), auth.check(b"b", b"2")), (Verdict::Denied, Verdict::Granted));
        std::fs::write(&path, "nonsense").unwrap();
        assert!(auth.reload().unwrap_err().ends_with("line 1: malformed entry, should be 'user:password'"));
        assert_eq!(auth.check(b"b", b"2"), Verdict::Granted);
        std::fs::write(&path, "x".repeat(AUTH_FILE_LEN_MAX + 1)).unwrap();
        assert!(auth.reload().unwrap_err().contains("more than"));
        std::fs::remove_file(&path).unwrap();
        assert!(auth.reload().unwrap_err().starts_with("cannot read "));
        assert_eq!(format!("{:?}", auth.users), "RwLock { data: 2 users, poisoned: false, .. }");
    }
}
