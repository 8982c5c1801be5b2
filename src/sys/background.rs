//! Into the background (`-d`), with a parent that waits until it is known how that went.
//!
//! ```text
//!   shell ──► parent ──fork──► child ──► new session, binds, serves ──► ready ─┐
//!               │                                     └─ or ends with a code ─┐│
//!               └── waits at a pipe ◄──────────────────────────────────────────┴┘ ──► exits: 0, or the child's code
//! ```
//!
//! So a script that starts a daemon learns whether it serves, and reads why not: until it does, the child keeps its parent's
//! standard error. (memcached's parent says 0 at once, whatever happens.)

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};
use std::fs::OpenOptions;
use std::io::{self, PipeWriter, Read, Write};

/// Who goes on after the fork.
#[derive(Debug)]
pub enum Side {
    /// Who was started: there is nothing left to do but to exit with this code.
    Parent(u8),
    /// The daemon.
    Child(Herald),
}

/// Tells the parent that the daemon serves.
#[derive(Debug)]
pub struct Herald {
    pipe: PipeWriter,
}

/// Forks. The child is in a session of its own and, unless `keep_directory`, at the root of the file system. To be called while
/// there is one thread only.
pub fn detach(keep_directory: bool) -> io::Result<Side> {
    let (mut news, pipe) = io::pipe()?;
    // SAFETY: There is no other thread, whose locks would stay locked in the child: the caller sees to that. Nothing is borrowed
    // from the parent but memory, which is copied.
    let forked = unsafe { fork() }?;
    let child = match forked {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            drop(news);
            setsid()?;
            if !keep_directory {
                chdir("/")?;
            }
            return Ok(Side::Child(Herald { pipe }));
        }
    };
    drop(pipe);
    if news.read(&mut [0])? == 1 {
        return Ok(Side::Parent(0));
    }
    // It ended, and has said why.
    let code = match waitpid(child, None)? {
        WaitStatus::Exited(_, code) => u8::try_from(code).unwrap_or(u8::MAX),
        _ => u8::MAX,
    };
    Ok(Side::Parent(code))
}

impl Herald {
    /// The daemon serves. Unless `keep_output`, it is not heard of any more on the terminal.
    pub fn ready(mut self, keep_output: bool) -> io::Result<()> {
        if !keep_output {
            let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
            dup2_stdin(&null)?;
            dup2_stdout(&null)?;
            dup2_stderr(&null)?;
        }
        // A parent that is gone already does not mind.
        let _ = self.pipe.write(&[1]);
        Ok(())
    }
}
