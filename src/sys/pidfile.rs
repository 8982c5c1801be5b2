//! The file that says which process the daemon is (`-P`).

use super::process::reason;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Gone when this is.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes this process's number. The file is there when it is complete. As in memcached, another that runs by the number it has is
    /// warned of and not asked.
    pub fn write(path: &Path) -> io::Result<Self> {
        if let Some(pid) = running(path) {
            log::warn!("-P/--pidfile: {} contained the following (running) pid: {pid}", path.display());
        }
        if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file() && !there.is_symlink()) {
            return Err(io::Error::other("it is there and no file"));
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".tmp");
        fs::write(&unfinished, format!("{}\n", std::process::id()))?;
        fs::rename(&unfinished, path).inspect_err(|_| drop(fs::remove_file(&unfinished)))?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Somebody else's by now, perhaps: then it stays.
        let ours = pid_in(&self.path) == i32::try_from(std::process::id()).ok();
        if ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("-P/--pidfile: cannot remove {}: {}", self.path.display(), reason(&error));
        }
    }
}

fn pid_in(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The process of the number in a file, if it runs and is another.
fn running(path: &Path) -> Option<i32> {
    let pid = pid_in(path).filter(|&pid| pid > 0 && u32::try_from(pid) != Ok(std::process::id()))?;
    // Without the right to signal it, it is there all the same.
    let there = !matches!(kill(Pid::from_raw(pid), None), Err(nix::errno::Errno::ESRCH));
    there.then_some(pid)
}
