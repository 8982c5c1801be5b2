//! A filter on system calls (`-o drop_privileges`): a thread that has been taken over can do no more than what it did before.
//!
//! ```text
//!   main, acceptor ── Duty::Process ──► files (by name), threads, notices to the manager: no programs, no sockets of the network
//!   workers, UDP, maintainer ── Duty::Serving, on top of it ──► what they have open already, memory, time
//! ```
//!
//! Filters pass from a thread to those it starts, and add up: what the first refuses no later one allows. A call that is not on the list
//! ends the process (SIGSYS), as with memcached; the two that libraries try at leisure and can do without are answered by an error: a
//! worker that opens a file is refused it, and the newer way to make a thread says that it does not exist, because its flags cannot be
//! looked at, so that the older is taken, whose can.
//!
//! What is on the lists was found by reading what the libraries call here and on other systems, and tried by running tests and real clients under
//! the filter, as CI does. Lists are *not* a matter of settings.

use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use std::collections::BTreeMap;

/// What a thread is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// To start, to reload, to stop; and to accept.
    Process,
    /// To serve clients, and to keep the store in order.
    Serving,
}

/// Filters what this thread, and those it starts from now on, may ask of the system. `relaxed`: what is refused is told in the kernel's log,
/// and done.
pub fn confine(duty: Duty, relaxed: bool) -> Result<(), String> {
    let refused = if relaxed { SeccompAction::Log } else { SeccompAction::KillProcess };
    let apply = || -> Result<(), Error> {
        // The harder filter last: it may take away the right to add one.
        if !relaxed {
            for (call, errno) in refusals(duty) {
                let only = BTreeMap::from([(call, Vec::new())]);
                let action = SeccompAction::Errno(errno.unsigned_abs());
                apply_filter(&compile(only, SeccompAction::Allow, action)?)?;
            }
        }
        apply_filter(&compile(allowances(duty)?, refused, SeccompAction::Allow)?)
    };
    apply().map_err(|error| format!("cannot filter system calls: {error}"))
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    found: SeccompAction,
) -> Result<BpfProgram, Error> {
    let filter = SeccompFilter::new(rules, otherwise, found, std::env::consts::ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}

/// What is refused by an error.
fn refusals(duty: Duty) -> Vec<(i64, i32)> {
    match duty {
        Duty::Process => vec![(libc::SYS_clone3, libc::ENOSYS)],
        Duty::Serving => vec![(libc::SYS_openat, libc::EACCES)],
    }
}

/// What is allowed: with any arguments, or if one of the rules is met.
fn allowances(duty: Duty) -> Result<BTreeMap<i64, Vec<SeccompRule>>, Error> {
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = SERVING.iter().map(|&call| (call, Vec::new())).collect();
    // Memory never becomes a program.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        allowed.insert(call, vec![masked(2, libc::PROT_EXEC, 0)?]);
    }
    // Not to type into the terminal that it was started from, say.
    let of_descriptors = [libc::FIONBIO, libc::FIOCLEX, libc::FIONREAD, libc::TCGETS];
    let rules = of_descriptors.into_iter().map(|request| exactly(1, request));
    allowed.insert(libc::SYS_ioctl, rules.collect::<Result<_, _>>()?);
    // Only to itself: what a failed assertion does.
    allowed.insert(libc::SYS_tgkill, vec![exactly(0, u64::from(std::process::id()))?]);
    if duty == Duty::Process {
        allowed.extend(PROCESS.iter().map(|&call| (call, Vec::new())));
        // To the manager, never to the network.
        allowed.insert(libc::SYS_socket, vec![exactly(0, number(libc::AF_UNIX))?]);
        // Threads, never processes.
        allowed.insert(libc::SYS_clone, vec![masked(0, libc::CLONE_THREAD, libc::CLONE_THREAD)?]);
        let of_process = [libc::PR_SET_NAME, libc::PR_SET_NO_NEW_PRIVS, PR_SET_VMA];
        let rules = of_process.into_iter().map(|option| exactly(0, number(option)));
        allowed.insert(libc::SYS_prctl, rules.collect::<Result<_, _>>()?);
    }
    Ok(allowed)
}

/// A rule: the argument at this place, as far as the mask goes, has this value.
fn masked(place: u8, mask: i32, value: i32) -> Result<SeccompRule, Error> {
    let operator = SeccompCmpOp::MaskedEq(number(mask));
    let condition = SeccompCondition::new(place, SeccompCmpArgLen::Dword, operator, number(value))?;
    Ok(SeccompRule::new(vec![condition])?)
}

fn exactly(place: u8, value: u64) -> Result<SeccompRule, Error> {
    let condition = SeccompCondition::new(place, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

/// A flag of the system as an argument.
fn number(flag: i32) -> u64 {
    u64::from(flag.unsigned_abs())
}

/// Names of mappings, which allocators of some systems give.
const PR_SET_VMA: i32 = 0x53_56_4d_41;

/// Of every thread.
const SERVING: &[c_long] = &[
    // What is open already. Opening is refused by an error, see above.
    libc::SYS_openat,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    // Clients.
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendmmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // Events.
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_create1,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    // Time.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    // Memory. Mapping it: see above.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_getrandom,
    // Who and how much.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getcpu,
    libc::SYS_getrusage,
    libc::SYS_sched_getaffinity,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Signals, and the end of a thread.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// Beyond that, of those who start, reload and stop.
const PROCESS: &[c_long] = &[
    // Files of users, of keys, of ports, of the process's number, of a unix socket.
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_connect,
    // Threads that start.
    libc::SYS_clone3,
    libc::SYS_set_tid_address,
    libc::SYS_sched_setaffinity,
    libc::SYS_prlimit64,
    libc::SYS_mlockall,
    // And add their own filter.
    libc::SYS_seccomp,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(not(target_arch = "riscv64"))]
    libc::SYS_renameat,
];
