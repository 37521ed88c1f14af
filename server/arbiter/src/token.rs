//! The bearer token of the admin API, from a file that may be rotated.
//!
//! A mounted Secret changes by a swap of symlinks, other tools rewrite the file in place; both change what `stat`
//! says, and then the file is read again. What cannot be used at start is a configuration error. Later the last good
//! token stays in force, because a half-done rotation must not lock everybody out.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use subtle::ConstantTimeEq;

/// The longest token, in bytes. An `Authorization` field must fit the admin port's head limit.
pub const MAX_TOKEN_BYTES: usize = 4096;

/// Why a token file cannot be used. The message names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(
        "cannot read the admin token file {path}: {source}; check --admin-token-file and the permissions"
    )]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "the admin token file {path} is not a file; --admin-token-file wants a file that holds one token"
    )]
    NotAFile { path: PathBuf },
    #[error("the admin token file {path} is empty; write one token into it")]
    Empty { path: PathBuf },
    #[error("the admin token file {path} holds more than {MAX_TOKEN_BYTES} bytes; it should hold one token")]
    TooLong { path: PathBuf },
    #[error(
        "the admin token file {path} holds more than one line or a byte that is not visible ASCII; it should hold one token"
    )]
    NotAToken { path: PathBuf },
}

/// A token and the file it comes from.
pub struct TokenFile {
    path: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    token: Vec<u8>,
    /// The file as it was when last looked at, good or not: a bad file is complained about once.
    seen: Option<Identity>,
}

/// What changes when a file is replaced or rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What [`TokenFile::refresh`] found.
#[derive(Debug)]
pub enum Refreshed {
    Unchanged,
    /// A new token is in force.
    Rotated,
    /// The file cannot be used; the last good token stays in force.
    Kept(TokenError),
}

impl TokenFile {
    /// Reads the file for the first time.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, TokenError> {
        let path = path.into();
        let (token, seen) = read(&path)?;
        Ok(Self { path, current: Mutex::new(Current { token, seen: Some(seen) }) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks whether the file has changed. Blocks on the file system: not for the arbiter's own thread.
    pub fn refresh(&self) -> Refreshed {
        let found = std::fs::metadata(&self.path).map(|metadata| Identity::of(&metadata)).ok();
        if self.lock().seen == found {
            return Refreshed::Unchanged;
        }
        match read(&self.path) {
            Ok((token, seen)) => {
                let mut current = self.lock();
                current.seen = Some(seen);
                if bool::from(current.token.ct_eq(&token)) {
                    return Refreshed::Unchanged;
                }
                current.token = token;
                Refreshed::Rotated
            }
            Err(error) => {
                self.lock().seen = found;
                Refreshed::Kept(error)
            }
        }
    }

    /// Compares in time that depends on the lengths only.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.lock().token.ct_eq(presented).into()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        // No code panics while it holds the lock; a poisoned one still holds a whole value.
        self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl std::fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenFile").field("path", &self.path).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<(Vec<u8>, Identity), TokenError> {
    let unreadable = |source| TokenError::Unreadable { path: path.to_owned(), source };
    let file = open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let kind = metadata.file_type();
    if kind.is_dir() || kind.is_fifo() || kind.is_socket() || kind.is_block_device() {
        return Err(TokenError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(MAX_TOKEN_BYTES as u64 + 3).read_to_end(&mut bytes).map_err(unreadable)?;
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    if bytes.is_empty() {
        return Err(TokenError::Empty { path: path.to_owned() });
    }
    if bytes.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::TooLong { path: path.to_owned() });
    }
    if !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(TokenError::NotAToken { path: path.to_owned() });
    }
    Ok((bytes, Identity::of(&metadata)))
}

/// Opens without waiting, so that a FIFO is refused instead of stopping the start.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("podicorn-token-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn trims_line_ends_only() {
        let folder = Folder::new("trim");
        let path = folder.0.join("token");
        for text in ["secret", "secret\n", "secret\r\n", "secret\n\n"] {
            fs::write(&path, text).unwrap();
            let token = TokenFile::open(&path).unwrap();
            assert!(token.matches(b"secret"), "{text:?}");
            assert!(!token.matches(b"secre") && !token.matches(b"secret\n") && !token.matches(b""));
        }
    }

    #[test]
    fn unusable_files_say_why() {
        let folder = Folder::new("bad");
        let path = folder.0.join("token");
        assert!(matches!(TokenFile::open(&path), Err(TokenError::Unreadable { .. })));
        assert!(matches!(TokenFile::open(&folder.0), Err(TokenError::NotAFile { .. })));
        for text in ["", "\n", "\r\n\n"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(TokenFile::open(&path), Err(TokenError::Empty { .. })), "{text:?}");
        }
        for text in ["two words", "two\nlines", "caf\u{e9}", " padded"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(TokenFile::open(&path), Err(TokenError::NotAToken { .. })), "{text:?}");
        }
        fs::write(&path, "x".repeat(MAX_TOKEN_BYTES + 1)).unwrap();
        assert!(matches!(TokenFile::open(&path), Err(TokenError::TooLong { .. })));
        fs::write(&path, "x".repeat(MAX_TOKEN_BYTES) + "\n").unwrap();
        assert!(TokenFile::open(&path).is_ok());
        let message = TokenFile::open(folder.0.join("absent")).unwrap_err().to_string();
        assert!(message.contains("absent") && message.contains("--admin-token-file"), "{message}");
    }

    #[test]
    fn a_fifo_does_not_stop_the_start() {
        let folder = Folder::new("fifo");
        let path = folder.0.join("token");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(TokenFile::open(&path), Err(TokenError::NotAFile { .. })));
    }

    #[test]
    fn a_swap_of_symlinks_rotates() {
        let folder = Folder::new("swap");
        for (version, text) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(folder.0.join(version)).unwrap();
            fs::write(folder.0.join(version).join("token"), text).unwrap();
        }
        std::os::unix::fs::symlink("..1", folder.0.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/token", folder.0.join("token")).unwrap();
        let token = TokenFile::open(folder.0.join("token")).unwrap();
        assert!(matches!(token.refresh(), Refreshed::Unchanged));
        assert!(token.matches(b"one"));
        std::os::unix::fs::symlink("..2", folder.0.join("..data_tmp")).unwrap();
        fs::rename(folder.0.join("..data_tmp"), folder.0.join("..data")).unwrap();
        assert!(matches!(token.refresh(), Refreshed::Rotated));
        assert!(token.matches(b"two") && !token.matches(b"one"));
    }

    #[test]
    fn the_last_good_token_stays_and_the_complaint_comes_once() {
        let folder = Folder::new("keep");
        let path = folder.0.join("token");
        fs::write(&path, "good").unwrap();
        let token = TokenFile::open(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(matches!(token.refresh(), Refreshed::Kept(TokenError::Empty { .. })));
        assert!(matches!(token.refresh(), Refreshed::Unchanged));
        assert!(token.matches(b"good"));
        fs::remove_file(&path).unwrap();
        assert!(matches!(token.refresh(), Refreshed::Kept(TokenError::Unreadable { .. })));
        assert!(matches!(token.refresh(), Refreshed::Unchanged));
        assert!(token.matches(b"good"));
        fs::write(&path, "better\n").unwrap();
        assert!(matches!(token.refresh(), Refreshed::Rotated));
        assert!(token.matches(b"better") && !token.matches(b"good"));
    }
}
