//! The table: one row per setting, from which everything else is made. The rows are data, one file per group.

mod admin;
mod application;
mod deadlines;
mod development;
mod hooks;
mod http;
mod http2;
mod listening;
mod logging;
mod process;
mod proxies;
mod replaced;
mod tls;
mod workers;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub(crate) use self::tls::NEED_CERTIFICATE;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Gunicorn's name where it has one; also the key in a config file, and in upper case after `PODICORN_` the variable.
    pub name: &'static str,
    pub section: Section,
    pub kind: Kind,
    /// One sentence, for `--help`.
    pub help: &'static str,
    /// More, for the reference page; may be empty.
    pub details: &'static str,
    /// With their dashes, the main one first; none: not on the command line.
    pub flags: &'static [&'static str],
    /// How the flag takes its value.
    pub takes: Takes,
    /// What stands for the value in `--help`.
    pub metavar: &'static str,
    pub default: DefaultValue,
    /// `seconds`, `bytes`, …; empty: none.
    pub unit: &'static str,
    /// A value that shows the form, for messages; may be empty.
    pub example: &'static str,
    pub origin: Origin,
    pub status: Status,
    /// False for what is needed before there is a config file.
    pub in_config_file: bool,
    /// The other variable that changes the default, as in Gunicorn, such as `PORT`; empty: none.
    pub default_variable: &'static str,
}

/// The type of a setting's value, with the rule that checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Flag,
    /// `prefixed`: on the command line `0x1F`, `0o22` and `022` (octal) count, as in a umask.
    Int {
        min: i64,
        max: i64,
        prefixed: bool,
    },
    /// Not negative; fractions count.
    Seconds,
    /// Bytes, with the suffixes k, m and g for powers of 1024.
    Size,
    Text,
    /// Text that None resets to the default.
    TextOrDefault,
    Choice(&'static [&'static str]),
    TextList,
    /// `KEY=VALUE` each.
    Pairs,
    /// Comma-separated in one text.
    CommaList,
    /// Comma-separated addresses and networks, or `*`.
    Networks,
    /// String to string.
    Headers,
    Dict,
    /// A Python class, by name.
    Class,
    /// One or more addresses.
    Binds,
    /// One address, or `off`; the number is the port of an address that names none.
    BindOrOff(u16),
    Workers,
    User,
    Group,
    /// An existing directory.
    Directory,
    ProxyProtocol,
    HttpProtocols,
    Cleartext,
    /// Whatever it is, it is ignored.
    Any,
    /// A Python callable; only a config file can give one.
    Hook,
}

/// How a flag takes its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    Value,
    /// Repeatable; the values add up.
    Values,
    /// No value: sets true.
    True,
    /// No value: sets false.
    False,
    /// A value or none; none means this one.
    Optional(&'static str),
}

/// The default of a setting, in the form of its checked value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    Null,
    Flag(bool),
    Int(i64),
    Text(&'static str),
    List(&'static [&'static str]),
    Dict(&'static [(&'static str, &'static str)]),
    /// Depends on the process or machine: how to say so. The value is worked out when the layers are merged.
    Computed(&'static str),
}

/// Who has the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Gunicorn,
    /// Added by Podicorn.
    Podicorn,
}

/// What this version does with the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Works,
    /// Accepted and without effect; the reason is told once at start-up if the setting is not at its default.
    NoEffect(&'static str),
    /// Refused unless it is at its default; what to do instead.
    Unsupported(&'static str),
}

/// The groups of `--help` and the reference page, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Application,
    Listening,
    Workers,
    Deadlines,
    Logging,
    Admin,
    Http,
    Proxies,
    Process,
    Hooks,
    Tls,
    Http2,
    Development,
    Replaced,
}

impl Section {
    pub fn title(self) -> &'static str {
        match self {
            Self::Application => "Application",
            Self::Listening => "Listening",
            Self::Workers => "Workers",
            Self::Deadlines => "Time limits",
            Self::Logging => "Logging",
            Self::Admin => "Admin API",
            Self::Http => "HTTP",
            Self::Proxies => "Behind proxies",
            Self::Process => "Process",
            Self::Hooks => "Hooks",
            Self::Tls => "TLS",
            Self::Http2 => "HTTP/2",
            Self::Development => "Development",
            Self::Replaced => "Not part of Podicorn",
        }
    }
}

const fn row(name: &'static str, section: Section, kind: Kind, help: &'static str) -> Setting {
    Setting {
        name,
        section,
        kind,
        help,
        details: "",
        flags: &[],
        takes: if matches!(kind, Kind::Flag) { Takes::True } else { Takes::Value },
        metavar: "TEXT",
        default: if matches!(kind, Kind::Flag) { DefaultValue::Flag(false) } else { DefaultValue::Null },
        unit: "",
        example: "",
        origin: Origin::Gunicorn,
        status: Status::Works,
        in_config_file: true,
        default_variable: "",
    }
}

/// Any count; the bound keeps it in 32 bits.
const COUNT: Kind = Kind::Int { min: 0, max: u32::MAX as i64, prefixed: false };
/// Gunicorn's durations are whole seconds; the bound is some 136 years.
const WHOLE_SECONDS: Kind = COUNT;

impl Setting {
    const fn flags(mut self, flags: &'static [&'static str]) -> Self {
        self.flags = flags;
        self
    }

    const fn takes(mut self, takes: Takes) -> Self {
        self.takes = takes;
        self
    }

    const fn metavar(mut self, metavar: &'static str) -> Self {
        self.metavar = metavar;
        self
    }

    const fn default(mut self, default: DefaultValue) -> Self {
        self.default = default;
        self
    }

    const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    const fn details(mut self, details: &'static str) -> Self {
        self.details = details;
        self
    }

    const fn ours(mut self) -> Self {
        self.origin = Origin::Podicorn;
        self
    }

    const fn no_effect(mut self, why: &'static str) -> Self {
        self.status = Status::NoEffect(why);
        self
    }

    const fn unsupported(mut self, instead: &'static str) -> Self {
        self.status = Status::Unsupported(instead);
        self
    }

    const fn not_in_config_file(mut self) -> Self {
        self.in_config_file = false;
        self
    }

    const fn default_variable(mut self, variable: &'static str) -> Self {
        self.default_variable = variable;
        self
    }

    /// The first long flag.
    pub fn long_flag(&self) -> Option<&'static str> {
        self.flags.iter().find(|flag| flag.starts_with("--")).copied()
    }

    /// True for the flags that `--help` lists: those that do something.
    pub(crate) fn listed(&self) -> bool {
        !self.flags.is_empty() && self.status == Status::Works
    }
}

static TABLE: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    [
        application::SETTINGS,
        listening::SETTINGS,
        workers::SETTINGS,
        deadlines::SETTINGS,
        logging::SETTINGS,
        admin::SETTINGS,
        http::SETTINGS,
        proxies::SETTINGS,
        process::SETTINGS,
        hooks::SETTINGS,
        tls::SETTINGS,
        http2::SETTINGS,
        development::SETTINGS,
        replaced::SETTINGS,
    ]
    .concat()
});

static BY_NAME: LazyLock<BTreeMap<&'static str, usize>> =
    LazyLock::new(|| TABLE.iter().enumerate().map(|(index, setting)| (setting.name, index)).collect());

/// Every setting, section by section.
pub fn table() -> &'static [Setting] {
    &TABLE
}

/// The setting of that name.
pub fn find(name: &str) -> Option<&'static Setting> {
    BY_NAME.get(name).and_then(|index| TABLE.get(*index))
}
