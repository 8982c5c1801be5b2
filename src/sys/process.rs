//! What concerns the whole process: its limits, whose rights it runs with, and how its errors read.
//!
//! It does *not* decide when; the command line's order of start-up does.

use nix::errno::Errno;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, raise};
use nix::unistd::{User, geteuid, initgroups, setfsgid, setfsuid, setgid, setuid};
use std::ffi::CString;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Makes sure that `count` descriptors can be open at a time, raising the soft limit and, if need and right be, the
/// hard one.
pub fn allow_descriptors(count: u64) -> Result<(), String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|errno| errno.desc().to_owned())?;
    if soft >= count {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, count, hard.max(count))
        .map_err(|errno| format!("the limit on open files is {soft}, {count} are needed: {}", errno.desc()))
}

/// Has this process told to stop by a signal, once: a second one would end it at once.
pub fn stop_this(gracefully: bool) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let signal = if gracefully { Signal::SIGUSR1 } else { Signal::SIGINT };
    if !TOLD.swap(true, Ordering::Relaxed)
        && let Err(errno) = raise(signal)
    {
        log::error!("cannot stop: {}", errno.desc());
    }
}

/// Another user to run as.
#[derive(Debug)]
pub struct Identity {
    user: User,
}

impl Identity {
    /// Whom to become: `wanted`, or `nobody` if none is wanted. None if we are not root, or root is to stay.
    pub fn resolve(wanted: Option<&str>) -> Result<Option<Self>, String> {
        let name = wanted.unwrap_or(NOBODY);
        if !geteuid().is_root() || name == "root" {
            return Ok(None);
        }
        match User::from_name(name) {
            Ok(Some(user)) => Ok(Some(Self { user })),
            Ok(None) => Err(format!("there is no user '{name}'")),
            Err(errno) => Err(format!("cannot look up user '{name}': {}", errno.desc())),
        }
    }

    /// The user's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.user.name
    }

    /// Gives a file to the user: its permissions are meant for whom the daemon runs as.
    pub fn own(&self, path: &Path) -> io::Result<()> {
        std::os::unix::fs::chown(path, Some(self.user.uid.as_raw()), Some(self.user.gid.as_raw()))
    }

    /// Makes a file, or whatever it is, as the user would: it is the user's then, and must be in a place that is.
    pub fn in_its_name<T>(&self, make: impl FnOnce() -> T) -> T {
        let gid = setfsgid(self.user.gid);
        let uid = setfsuid(self.user.uid);
        let made = make();
        setfsuid(uid);
        setfsgid(gid);
        made
    }

    /// Becomes the user, for good: groups first, while there is the right to.
    fn assume(&self) -> Result<(), String> {
        let name = CString::new(self.user.name.as_str()).map_err(|error| error.to_string())?;
        initgroups(&name, self.user.gid)
            .and_then(|()| setgid(self.user.gid))
            .and_then(|()| setuid(self.user.uid))
            .map_err(|errno| format!("cannot become user '{}': {}", self.user.name, errno.desc()))
    }
}

/// Becomes the user, if there is one to become, and gives up, for good, whatever rights go beyond that: every capability, and that of
/// starting a program that has more. For this thread and those that it starts.
pub fn step_down(identity: Option<&Identity>) -> Result<(), String> {
    use caps::{CapSet, clear};
    nix::sys::prctl::set_no_new_privs().map_err(|errno| format!("cannot renounce new rights: {}", errno.desc()))?;
    // Taking away what might be got later takes a right itself, which not everybody has; it can be got no more in any case.
    let _ = clear(None, CapSet::Bounding);
    identity.map_or(Ok(()), Identity::assume)?;
    // Some sandboxes do not know of ambient ones; they go with the others in any case.
    let _ = clear(None, CapSet::Ambient);
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        // A sandbox that leaves us none may not let us say so, either.
        if !caps::read(None, set).is_ok_and(|kept| kept.is_empty()) {
            clear(None, set).map_err(|error| format!("cannot give up capabilities: {error}"))?;
        }
    }
    Ok(())
}

/// Lets cores be written as long as the system has it (`-r`); an error where it does not have it at all.
pub fn allow_cores() -> Result<(), String> {
    let all = nix::sys::resource::RLIM_INFINITY;
    let refused = |errno: Errno| format!("cannot make the limit of cores higher: {}", errno.desc());
    if setrlimit(Resource::RLIMIT_CORE, all, all).is_err() {
        let (_, hard) = getrlimit(Resource::RLIMIT_CORE).map_err(refused)?;
        setrlimit(Resource::RLIMIT_CORE, hard, hard).map_err(refused)?;
    }
    match getrlimit(Resource::RLIMIT_CORE).map_err(refused)? {
        (0, _) => Err("the limit of cores is 0, and cannot be made higher".to_owned()),
        _ => Ok(()),
    }
}

/// Lets cores be written also of a process that has become another user, which the system otherwise does not, lest that user reads
/// what it should not.
pub fn stay_dumpable() -> Result<(), String> {
    nix::sys::prctl::set_dumpable(true).map_err(|errno| format!("there will be no cores: {}", errno.desc()))
}

/// Whom root becomes when nothing is said.
const NOBODY: &str = "nobody";

/// What an error says, without its number.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| Errno::from_raw(code).desc().to_owned())
}

/// Whether binding failed because the host does not have such addresses at all.
#[must_use]
pub fn lacks_address_family(error: &io::Error) -> bool {
    is_one_of(error, &[Errno::EAFNOSUPPORT, Errno::EADDRNOTAVAIL, Errno::EPROTONOSUPPORT])
}

/// Whether the system is out of something that accepting takes, and may have it again.
#[must_use]
pub fn is_starved(error: &io::Error) -> bool {
    is_one_of(error, &[Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM])
}

fn is_one_of(error: &io::Error, errnos: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|code| errnos.contains(&Errno::from_raw(code)))
}

/// Processor time this process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTimes {
    /// In its own code.
    pub user: std::time::Duration,
    /// In the kernel on its behalf.
    pub system: std::time::Duration,
}

/// Asks the system; zero if it does not say.
#[must_use]
pub fn cpu_times() -> CpuTimes {
    use nix::sys::resource::{UsageWho, getrusage};
    let duration = |time: nix::sys::time::TimeVal| {
        let micros = u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec()).unwrap_or(0);
        std::time::Duration::from_micros(micros)
    };
    getrusage(UsageWho::RUSAGE_SELF)
        .map(|usage| CpuTimes { user: duration(usage.user_time()), system: duration(usage.system_time()) })
        .unwrap_or_default()
}

/// Opens what [`resident_len`] reads, for good. To be called before there are threads that may not open anything (`confine.rs`): one
/// of them may be the first to ask.
pub fn open_resident_len() {
    statm();
}

fn statm() -> Option<&'static std::fs::File> {
    static STATM: std::sync::OnceLock<Option<std::fs::File>> = std::sync::OnceLock::new();
    STATM.get_or_init(|| std::fs::File::open("/proc/self/statm").ok()).as_ref()
}

/// Bytes of this process that are resident; none if the system does not say.
#[must_use]
pub fn resident_len() -> Option<u64> {
    use std::os::unix::fs::FileExt;
    let file = statm()?;
    let mut statm = [0; 256];
    let len = file.read_at(&mut statm, 0).ok()?;
    let pages: u64 = std::str::from_utf8(&statm[..len]).ok()?.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(super::memory::page_len() as u64)
}

/// Whether the system makes huge pages at all.
#[must_use]
pub fn has_huge_pages() -> bool {
    let said = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    said.is_ok_and(|said| !said.contains("[never]"))
}

/// Lets as much memory be locked as there is, as far as the process has the right to; to be called before that is given up.
pub fn allow_locking() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) {
        let all = nix::sys::resource::RLIM_INFINITY;
        // Whoever may not raise the hard limit still has that much; whether it is enough is seen when memory is locked: the
        // system compares it with all that is mapped, so it is not found out later, at some mapping.
        if setrlimit(Resource::RLIMIT_MEMLOCK, all, all).is_err() {
            let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
        }
    }
}

/// Locks what is resident and what will be, each page as it is touched: populating all that is mapped, as locking without that
/// condition does, would make the whole address space that is set aside resident, many times the memory there is.
pub fn lock_memory() -> io::Result<()> {
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_no_numbers_and_causes_are_told_apart() {
        let starved = io::Error::from_raw_os_error(Errno::EMFILE as i32);
        assert_eq!(reason(&starved), "Too many open files");
        assert!(is_starved(&starved) && !lacks_address_family(&starved));
        assert_eq!(reason(&io::Error::other("ours")), "ours");
    }

    #[test]
    fn a_limit_that_suffices_is_left_alone_and_one_beyond_the_system_is_an_error() {
        let before = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        allow_descriptors(16).unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), before);
        assert!(allow_descriptors(u64::MAX - 1).is_err());
    }
}
