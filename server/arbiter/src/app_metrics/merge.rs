//! Many processes' values as one exposition, by the library's own rules (`multiprocess.py`), except that a gauge of each
//! worker has a label `slot` in place of `pid`, and those of processes that are no workers are left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use super::values::{FileName, Key, Kind, Owner, Value};

/// The server's own.
const OURS: &str = "podicorn_";

type Labels = BTreeMap<String, String>;

#[derive(Debug)]
struct Family {
    kind: Kind,
    help: String,
    /// By labels, without `le`.
    series: BTreeMap<Labels, Series>,
}

#[derive(Debug, Default)]
struct Series {
    /// By the sample's name.
    samples: BTreeMap<String, Sample>,
    /// By upper bound, not cumulative.
    buckets: BTreeMap<Bound, f64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    value: f64,
    at: f64,
}

/// A bound that can be put in order.
#[derive(Debug, Clone, Copy)]
struct Bound(f64);

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Takes values in, file by file.
#[derive(Debug, Default)]
pub(super) struct Merge {
    families: BTreeMap<String, Family>,
    /// Keys come again in each file.
    keys: HashMap<String, Option<Key>>,
}

impl Merge {
    pub(super) fn add(&mut self, file: &FileName, value: Value) {
        let Value { key, number: value, at } = value;
        let key = self.keys.entry(key).or_insert_with_key(|text| read_key(text));
        let Some(Key(name, sample, labels, help)) = key else { return };
        if !fits(file.kind, name, sample) {
            return;
        }
        let mode = file.mode.as_deref().unwrap_or_default();
        let mode = mode.strip_prefix("live").unwrap_or(mode);
        let each = file.kind == Kind::Gauge && !matches!(mode, "min" | "max" | "sum" | "mostrecent");
        let slot = match file.owner {
            Owner::Slot(slot) => Some(slot),
            // A fork server, and children of the app, could only be told by their pid, and pids are without number.
            _ if each => return,
            _ => None,
        };
        let family = self.families.entry(name.clone()).or_insert_with(|| Family {
            kind: file.kind,
            help: help.clone(),
            series: BTreeMap::new(),
        });
        // The app has made something else of the name, perhaps with a reload: the first one stays.
        if family.kind != file.kind {
            return;
        }
        let mut labels = labels.clone();
        if file.kind == Kind::Histogram
            && let Some(bound) = labels.remove("le")
        {
            // Python writes `+Inf`.
            let Ok(bound) = bound.parse::<f64>() else { return };
            *family.series.entry(labels).or_default().buckets.entry(Bound(bound)).or_default() += value;
            return;
        }
        if let Some(slot) = slot.filter(|_| each) {
            labels.insert(slot_label(&labels), slot.to_string());
        }
        let samples = &mut family.series.entry(labels).or_default().samples;
        let new = Sample { value, at };
        samples
            .entry(sample.clone())
            .and_modify(|old| match mode {
                "min" => old.value = old.value.min(value),
                "max" => old.value = old.value.max(value),
                "mostrecent" if old.at < at => *old = new,
                "mostrecent" => {}
                _ if each => *old = new,
                _ => old.value += value,
            })
            .or_insert(new);
    }

    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        let mut taken = BTreeSet::new();
        for (name, family) in &self.families {
            // A counter `x` and a gauge `x_total` would meet.
            let samples = family.kind.sample_names(name);
            if samples.iter().any(|sample| taken.contains(sample)) {
                continue;
            }
            taken.extend(samples);
            family.render(name, &mut text);
        }
        text
    }
}

impl Kind {
    fn sample_names(self, name: &str) -> Vec<String> {
        let suffixes: &[&str] = match self {
            Self::Counter => &["", "_total"],
            Self::Gauge => &[""],
            Self::Histogram => &["", "_bucket", "_count", "_sum"],
            Self::Summary => &["", "_count", "_sum"],
        };
        suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect()
    }
}

impl Family {
    fn render(&self, name: &str, text: &mut String) {
        let help = escape(&self.help);
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {}\n", self.kind.name());
        for (labels, series) in &self.series {
            let mut count = 0.0;
            for (bound, value) in &series.buckets {
                count += value;
                let _ = writeln!(
                    text,
                    "{name}_bucket{} {}",
                    label_set(labels, Some(&number(bound.0))),
                    number(count)
                );
            }
            if !series.buckets.is_empty() {
                let _ = writeln!(text, "{name}_count{} {}", label_set(labels, None), number(count));
            }
            for (sample, Sample { value, .. }) in &series.samples {
                let _ = writeln!(text, "{sample}{} {}", label_set(labels, None), number(*value));
            }
        }
    }
}

fn read_key(text: &str) -> Option<Key> {
    let key: Key = serde_json::from_str(text).ok()?;
    let Key(name, sample, labels, _) = &key;
    let valid =
        is_name(name, true) && is_name(sample, true) && labels.keys().all(|label| is_name(label, false));
    (valid && !name.starts_with(OURS)).then_some(key)
}

/// Whether a sample belongs to its family.
fn fits(kind: Kind, name: &str, sample: &str) -> bool {
    let suffix = sample.strip_prefix(name);
    match kind {
        Kind::Counter => suffix == Some("_total"),
        Kind::Gauge => suffix == Some(""),
        Kind::Histogram => matches!(suffix, Some("_bucket" | "_sum")),
        Kind::Summary => matches!(suffix, Some("_count" | "_sum")),
    }
}

fn is_name(text: &str, colons: bool) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (colons && byte == b':');
    text.bytes().enumerate().all(|(at, byte)| letter(byte) || (at > 0 && byte.is_ascii_digit()))
        && !text.is_empty()
}

fn slot_label(labels: &Labels) -> String {
    if labels.contains_key("slot") { format!("{OURS}slot") } else { "slot".to_owned() }
}

fn label_set(labels: &Labels, bound: Option<&str>) -> String {
    let mut pairs: Vec<String> =
        labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escape(value))).collect();
    pairs.extend(bound.map(|bound| format!("le=\"{bound}\"")));
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

/// As the library writes numbers: `1.0`, `+Inf`, `NaN`.
fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        format!("{value:?}")
    }
}
