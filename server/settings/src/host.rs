//! The few facts about the machine that settings depend on.

use std::path::{Path, PathBuf};

use nix::unistd::{Group, User, getegid, geteuid};

/// Facts about the process and its machine; a test makes up its own.
#[derive(Debug, Clone)]
pub struct Host {
    /// The directory that the server was started in; a relative `chdir` starts here.
    pub working_directory: PathBuf,
    /// Effective ids of the server.
    pub user: u32,
    pub group: u32,
    /// The id of a user or group by name.
    pub user_by_name: fn(&str) -> Option<u32>,
    pub group_by_name: fn(&str) -> Option<u32>,
    pub exists: fn(&Path) -> bool,
}

impl Host {
    /// The facts of this process, as they are now: call it before any change of directory.
    pub fn of_process() -> std::io::Result<Self> {
        Ok(Self {
            working_directory: std::env::current_dir()?,
            user: geteuid().as_raw(),
            group: getegid().as_raw(),
            user_by_name: |name| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw()),
            group_by_name: |name| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw()),
            exists: Path::exists,
        })
    }
}
