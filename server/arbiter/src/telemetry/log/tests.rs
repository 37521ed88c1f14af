use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::Value;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("podicorn-log-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("error.log")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const SOON: Duration = Duration::from_secs(20);

fn written(level: Level, format: Format, path: &Path, say: impl FnOnce(&LogHandle)) -> String {
    let (subscriber, handle) = build(level, format, Target::File(path.to_owned()), None).unwrap();
    tracing::subscriber::with_default(subscriber, || say(&handle));
    assert!(handle.flush(SOON));
    std::fs::read_to_string(path).unwrap_or_default()
}

/// `[2026-11-22 22:58:40 +0000] [1] [INFO] text` without the time, which it checks.
fn without_time(line: &str) -> &str {
    let (time, rest) = line.strip_prefix('[').unwrap().split_once("] ").unwrap();
    jiff::Timestamp::strptime("%Y-%m-%d %H:%M:%S %z", time).unwrap();
    rest
}

#[test]
fn text_lines_are_gunicorns() {
    let folder = Folder::new("text");
    let text = written(Level::Debug, Format::Text, &folder.file(), |_| {
        tracing::debug!("one");
        tracing::info!("Booting worker with pid: {}", 42);
        tracing::warn!(slot = 3, "three");
        tracing::error!(error = "it broke", "four");
        crate::critical!("five");
    });
    let pid = std::process::id();
    let lines: Vec<&str> = text.lines().map(without_time).collect();
    assert_eq!(
        lines,
        [
            format!("[{pid}] [DEBUG] one"),
            format!("[{pid}] [INFO] Booting worker with pid: 42"),
            format!("[{pid}] [WARNING] three"),
            format!("[{pid}] [ERROR] four: it broke"),
            format!("[{pid}] [CRITICAL] five"),
        ]
    );
}

#[test]
fn json_lines_carry_the_fields() {
    let folder = Folder::new("json");
    let text = written(Level::Info, Format::Json, &folder.file(), |_| {
        tracing::debug!("not this");
        tracing::info!(worker_pid = 42, ratio = 0.5, ok = true, name = "x", "with\nfields \"quoted\"");
        crate::critical!(pid = 7, time = "noon", "clash");
    });
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    let first = &lines[0];
    assert_eq!(first["level"], "info");
    assert_eq!(first["pid"], std::process::id());
    assert_eq!(first["logger"], "podicorn");
    assert_eq!(first["message"], "with\nfields \"quoted\"");
    assert_eq!(
        (&first["worker_pid"], &first["ratio"], &first["ok"]),
        (&42.into(), &0.5.into(), &true.into())
    );
    let time = first["time"].as_str().unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(lines[1]["level"], "critical");
    assert_eq!(lines[1]["pid"], std::process::id());
    assert_eq!((&lines[1]["field_pid"], &lines[1]["field_time"]), (&7.into(), &"noon".into()));
    assert!(lines[1].get("critical").is_none());
}

#[test]
fn each_level_lets_through_what_is_as_heavy() {
    let folder = Folder::new("levels");
    for (index, level) in Level::ALL.into_iter().enumerate() {
        let path = folder.0.join(level.name());
        let text = written(level, Format::Text, &path, |_| {
            tracing::debug!("a");
            tracing::info!("b");
            tracing::warn!("c");
            tracing::error!("d");
            crate::critical!("e");
        });
        assert_eq!(text.lines().count(), 5 - index, "{level:?}: {text}");
        assert_eq!(level.name().to_uppercase().parse(), Ok(level));
    }
    assert!("loud".parse::<Level>().unwrap_err().to_string().contains("debug, info"));
}

#[test]
fn control_characters_cannot_forge() {
    let folder = Folder::new("controls");
    let text =
        written(Level::Info, Format::Text, &folder.file(), |_| tracing::info!("a\x1b[2Kb\rc\td\u{9b}e"));
    assert!(text.ends_with("a\\x1b[2Kb\\x0dc\td\\x9be\n"), "{text:?}");
}

#[test]
fn reopening_follows_a_rotation() {
    let folder = Folder::new("reopen");
    let (path, moved) = (folder.file(), folder.0.join("error.log.1"));
    let text = written(Level::Info, Format::Text, &path, |handle| {
        tracing::info!("before");
        assert!(handle.flush(SOON));
        std::fs::rename(&path, &moved).unwrap();
        tracing::info!("between");
        handle.reopen();
        tracing::info!("after");
    });
    let old = std::fs::read_to_string(&moved).unwrap();
    assert!(old.contains("before") && old.contains("between") && !old.contains("after"), "{old}");
    assert!(text.contains("after") && !text.contains("between"), "{text}");
}

#[test]
fn a_log_that_cannot_be_opened_again_stays() {
    let folder = Folder::new("keep");
    let elsewhere = Target::File(folder.0.join("absent").join("x.log"));
    let text = written(Level::Info, Format::Text, &folder.file(), |handle| {
        handle.reconfigure(Level::Error, Format::Text, elsewhere);
        tracing::warn!("too light now");
        tracing::error!("still here");
    });
    assert!(text.contains("cannot open the error log") && text.contains("still here"), "{text}");
    assert!(!text.contains("too light"), "{text}");
    assert!(matches!(
        build(Level::Info, Format::Text, Target::File(folder.0.join("absent").join("x.log")), None),
        Err(LogError::Open { .. })
    ));
}

/// A reader that does not read: the writer hangs in write(2), the logging thread goes on, and what did not fit is
/// counted and told of when the reader is back.
#[test]
fn a_stuck_reader_costs_lines_and_nothing_else() {
    let folder = Folder::new("stuck");
    let path = folder.0.join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut reader =
        std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    let (subscriber, handle) = build(Level::Info, Format::Text, Target::File(path), None).unwrap();
    let line = "x".repeat(1000);
    let sent = 10_000;
    let mut text = Vec::new();
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..sent {
            tracing::info!("{line}");
        }
        assert!(handle.dropped() > 0);
        assert!(!handle.flush(Duration::from_millis(50)), "nobody reads, so it cannot be written");
        let mut drain = |until: &dyn Fn() -> bool| {
            while !until() {
                let mut chunk = [0; 8192];
                match reader.read(&mut chunk) {
                    Ok(read) => text.extend_from_slice(&chunk[..read]),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
        };
        drain(&|| handle.flush(Duration::from_millis(1)));
        tracing::info!("the reader is back");
        drain(&|| handle.flush(Duration::from_millis(1)));
        let mut rest = Vec::new();
        let _ = reader.read_to_end(&mut rest);
        text.extend_from_slice(&rest);
    });
    let text = String::from_utf8(text).unwrap();
    let kept = text.lines().filter(|text| text.ends_with(&line)).count() as u64;
    assert_eq!(kept + handle.dropped(), sent);
    assert!(text.contains(&format!("{} lines of this log were dropped", handle.dropped())), "no word of it");
}

#[test]
fn a_closed_reader_is_counted() {
    let folder = Folder::new("closed");
    let path = folder.0.join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let reader = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    let (subscriber, handle) = build(Level::Info, Format::Text, Target::File(path), None).unwrap();
    drop(reader);
    tracing::subscriber::with_default(subscriber, || tracing::info!("nobody hears this"));
    assert!(handle.flush(SOON));
    assert_eq!(handle.dropped(), 1);
}
