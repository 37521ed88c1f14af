//! The arbiter's name in process lists, where setproctitle is installed for the workers' names (as in Gunicorn).
//!
//! `ps` shows the memory in which the kernel has put the arguments (`proc_pid_cmdline(5)`), so that is what is written over;
//! no more than it, because the environment comes next.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

/// The command line that this process was started with, its name first, whatever `ps` shows by now.
pub fn arguments() -> &'static [OsString] {
    static ARGUMENTS: OnceLock<Vec<OsString>> = OnceLock::new();
    ARGUMENTS.get_or_init(|| std::env::args_os().collect())
}

/// Names this process. A name that is too long is cut; a kernel that does not let it be changed leaves it as it was.
pub fn set(title: &str) -> io::Result<()> {
    arguments();
    let fields = std::fs::read_to_string("/proc/self/stat")?;
    let unknown = || io::Error::other("/proc/self/stat does not say where the arguments are");
    let place = place(&fields).ok_or_else(unknown)?;
    let room = usize::try_from(place.end - place.start).unwrap_or(0);
    OpenOptions::new().write(true).open("/proc/self/mem")?.write_all_at(&fitted(title, room), place.start)
}

/// Where the arguments are in memory: the 48th and 49th field of `proc_pid_stat(5)`.
fn place(line: &str) -> Option<Range<u64>> {
    // The second field, a name in parentheses, may hold anything.
    let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace().skip(45);
    let (start, end) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (start > 0 && end > start).then_some(start..end)
}

/// As many bytes as there is room, with a NUL at the end: without one the kernel would go on into the environment.
fn fitted(title: &str, room: usize) -> Vec<u8> {
    let mut end = title.len().min(room.saturating_sub(1));
    while !title.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = title.as_bytes()[..end].to_vec();
    bytes.resize(room, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_found_behind_any_name() {
        let numbers: Vec<String> = (4..=52).map(|field| format!("{field}0")).collect();
        let stat = format!("7 (a ) 1 (b) S {}\n", numbers.join(" "));
        assert_eq!(place(&stat), Some(480..490));
        assert_eq!(place("7 (a) S 1 2"), None);
        assert_eq!(place(""), None);
    }

    #[test]
    fn a_title_fits_the_room_that_there_is() {
        assert_eq!(fitted("abc", 5), b"abc\0\0");
        assert_eq!(fitted("abcdef", 4), b"abc\0");
        // A character is not cut in two.
        assert_eq!(fitted("aä", 3), b"a\0\0");
        assert_eq!(fitted("abc", 0), b"");
    }
}
