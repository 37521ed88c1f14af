//! The library's files: their names, and the values in them. Hostile input, since user code writes them.
//!
//! A file begins with how many bytes of it are used (32 bits, native order) and four bytes of padding. Each entry is the
//! length of its key (32 bits), the key with one to eight spaces up to a multiple of eight, a value and a time (doubles). A
//! key is JSON: `[family, sample, {label: value}, help]`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Gauges that speak of the moment and end with their process.
pub(super) const MOMENTARY_GAUGES: [&str; 5] = ["liveall", "livemin", "livemax", "livesum", "livemostrecent"];
/// In place of an id: processes that have ended.
pub(super) const DEAD: &str = "dead";
/// More of one file is not read.
const MOST_BYTES: u64 = 64 << 20;
/// The used length and its padding.
const HEADER: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Dead,
    Slot(u32),
    Process(i32),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileName {
    pub(super) kind: Kind,
    /// Of gauges: how several processes' values become one.
    pub(super) mode: Option<String>,
    pub(super) owner: Owner,
}

impl FileName {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.strip_suffix(".db")?.split('_').collect();
        let (kind, mode, owner) = match parts[..] {
            ["counter", owner] => (Kind::Counter, None, owner),
            ["histogram", owner] => (Kind::Histogram, None, owner),
            ["summary", owner] => (Kind::Summary, None, owner),
            ["gauge", mode, owner] if mode.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                (Kind::Gauge, Some(mode.to_owned()), owner)
            }
            _ => return None,
        };
        let owner = if owner == DEAD {
            Owner::Dead
        } else if let Some(slot) = owner.strip_prefix("slot") {
            Owner::Slot(slot.parse().ok()?)
        } else {
            Owner::Process(owner.parse().ok().filter(|pid| *pid > 0)?)
        };
        Some(Self { kind, mode, owner })
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_", self.kind.name())?;
        if let Some(mode) = &self.mode {
            write!(f, "{mode}_")?;
        }
        match &self.owner {
            Owner::Dead => write!(f, "{DEAD}.db"),
            Owner::Slot(slot) => write!(f, "slot{slot}.db"),
            Owner::Process(pid) => write!(f, "{pid}.db"),
        }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    /// As it is in the file, without its padding.
    pub(super) key: String,
    pub(super) number: f64,
    /// When it was set, in Unix time; only of gauges that ask for it.
    pub(super) at: f64,
}

/// What a key says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(super) struct Key(
    /// The family.
    pub(super) String,
    /// The sample.
    pub(super) String,
    pub(super) BTreeMap<String, String>,
    /// The help text.
    pub(super) String,
);

/// At most `most` values of a file; as far as it makes sense.
pub(super) fn read(path: &Path, most: usize) -> io::Result<Vec<Value>> {
    let file = open(OpenOptions::new().read(true), path)?;
    let mut bytes = Vec::new();
    // Never mapped: whoever shortens a mapped file kills its readers.
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(parse(&bytes, most))
}

fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn parse(bytes: &[u8], most: usize) -> Vec<Value> {
    let Some(used) = word(bytes, 0) else { return Vec::new() };
    let bytes = &bytes[..used.min(bytes.len())];
    let mut values = Vec::new();
    let mut at = HEADER;
    while values.len() < most
        && let Some((value, next)) = entry(bytes, at)
    {
        values.extend(value);
        at = next;
    }
    values
}

/// An entry and where the next one is; `None` at the end. Keys that are no text are left out.
fn entry(bytes: &[u8], at: usize) -> Option<(Option<Value>, usize)> {
    let length = word(bytes, at)?;
    let key_at = at + 4;
    // At least one byte of padding.
    let value_at = (key_at.checked_add(length)? / 8 + 1).checked_mul(8)?;
    let key = bytes.get(key_at..key_at.checked_add(length)?)?;
    let double = |at: usize| Some(f64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (number, time) = (double(value_at)?, double(value_at + 8)?);
    let key = std::str::from_utf8(key).ok().map(|key| key.trim_end().to_owned());
    Some((key.map(|key| Value { key, number, at: time }), value_at + 16))
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = i32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?);
    usize::try_from(word).ok()
}

/// Adds values to those with the same key.
pub(super) fn add(sums: &mut Vec<Value>, more: Vec<Value>) {
    let mut known: HashMap<String, usize> =
        sums.iter().enumerate().map(|(index, sum)| (sum.key.clone(), index)).collect();
    for value in more {
        if let Some(index) = known.get(&value.key) {
            sums[*index].number += value.number;
        } else {
            known.insert(value.key.clone(), sums.len());
            sums.push(value);
        }
    }
}

/// A file in the library's own form, in one step for those who read beside us.
pub(super) fn write(path: &Path, values: &[Value]) -> io::Result<()> {
    let mut bytes = vec![0; HEADER];
    for Value { key, number, at } in values {
        let padding = 8 - (bytes.len() + 4 + key.len()) % 8;
        let length = i32::try_from(key.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        bytes.extend(length.to_ne_bytes());
        bytes.extend(key.bytes());
        bytes.extend(std::iter::repeat_n(b' ', padding));
        bytes.extend(number.to_ne_bytes());
        bytes.extend(at.to_ne_bytes());
    }
    let used = i32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    bytes[..4].copy_from_slice(&used.to_ne_bytes());
    let beside = path.with_extension("new");
    let _ = std::fs::remove_file(&beside);
    let mut file = open(OpenOptions::new().write(true).create_new(true), &beside)?;
    file.write_all(&bytes)?;
    std::fs::rename(&beside, path)
}

/// Leaves a file without values.
pub(super) fn empty(path: &Path) -> io::Result<()> {
    let file = open(OpenOptions::new().write(true), path)?;
    let header = i32::try_from(HEADER).map_err(|_| io::ErrorKind::InvalidData)?;
    file.write_all_at(&header.to_ne_bytes(), 0)
}
