//! The pid file: only where it is asked for.

use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum PidfileError {
    #[error(
        "pid file {} (setting pidfile): process {pid} is running; stop it or choose another file", path.display()
    )]
    Running { path: PathBuf, pid: i32 },
    #[error("pid file {} (setting pidfile): cannot write it: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

/// Removed when dropped, if it still holds our pid.
#[derive(Debug)]
pub struct Pidfile {
    path: PathBuf,
}

impl Pidfile {
    pub fn create(path: &Path) -> Result<Self, PidfileError> {
        if let Some(pid) = read(path).filter(|pid| *pid != own() && is_running(*pid)) {
            return Err(PidfileError::Running { path: path.into(), pid });
        }
        let written = std::fs::File::create(path).and_then(|mut file| writeln!(file, "{}", own()));
        written.map_err(|source| PidfileError::Write { path: path.into(), source })?;
        // Absolute, because the working directory may change.
        Ok(Self { path: std::path::absolute(path).unwrap_or_else(|_| path.into()) })
    }
}

impl Pidfile {
    /// The program before this one has written it, with the pid that is ours now.
    pub fn resume(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        if read(&self.path) == Some(own()) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn own() -> i32 {
    nix::unistd::getpid().as_raw()
}

fn read(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok().filter(|pid| *pid > 0)
}

fn is_running(pid: i32) -> bool {
    !matches!(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None), Err(nix::errno::Errno::ESRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_guarded_and_removed() {
        let path = std::env::temp_dir().join(format!("podicorn-pidfile-{}", own()));
        std::fs::write(&path, "1\n").unwrap();
        assert!(matches!(Pidfile::create(&path), Err(PidfileError::Running { pid: 1, .. })));
        std::fs::write(&path, "999999999\n").unwrap();
        let pidfile = Pidfile::create(&path).unwrap();
        assert_eq!(read(&path), Some(own()));
        drop(pidfile);
        assert!(!path.exists());
    }
}
