//! What a parser may accept: limits, Gunicorn's leniency settings, and the policy for odd header names.

/// Gunicorn's largest `limit_request_line`.
const MAX_REQUEST_LINE: usize = 8190;
/// Bound in place of "unlimited", so that no setting lets a peer fill the memory.
const UNLIMITED_REQUEST_LINE: usize = 1 << 20;
/// Gunicorn's largest `limit_request_fields`.
const MAX_REQUEST_FIELDS: usize = 32768;
const DEFAULT_FIELD_SIZE: usize = 8190;
/// Field sizes above this are cut to it: positions are kept as `u32`.
const MAX_FIELD_SIZE: usize = 1 << 24;
/// Upper bound of a whole head, whatever the settings multiply to.
const MAX_FIELD_SECTION: usize = 1 << 28;

/// How a field whose name has an underscore is treated: in a WSGI environ `X_A` and `X-A` are the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderMap {
    /// The field is left out of the [`Head`](crate::Head).
    #[default]
    Drop,
    /// The request is rejected (400).
    Refuse,
    /// The field is kept.
    Dangerous,
}

/// Bounds on what a request may take. All sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest request line without its CRLF; beyond it 414.
    pub request_line: usize,
    /// Most fields in a head or a trailer section; beyond it 431.
    pub fields: usize,
    /// Longest field line with its CRLF, folded lines together; beyond it 431. Also bounds a chunk-size line (400).
    pub field_size: usize,
    /// Largest request body; beyond it 413. `None`: unlimited, as Gunicorn.
    pub body: Option<u64>,
    /// All chunk extensions of one body together; beyond it 400.
    pub chunk_extensions: usize,
}

impl Default for Limits {
    /// Gunicorn 27's defaults.
    fn default() -> Self {
        Self {
            request_line: 4094,
            fields: 100,
            field_size: DEFAULT_FIELD_SIZE,
            body: None,
            chunk_extensions: 16 * 1024,
        }
    }
}

impl Limits {
    /// Limits from the values of `limit_request_line`, `limit_request_fields` and `limit_request_field_size`,
    /// read as Gunicorn reads them: a line limit of 0 is unlimited (here 1 MiB) and at most 8190; a number of
    /// fields out of 1..=32768 means 32768; a field size of 0 or less means 8190.
    pub fn from_settings(request_line: i64, fields: i64, field_size: i64) -> Self {
        let request_line = match usize::try_from(request_line) {
            Ok(0) => UNLIMITED_REQUEST_LINE,
            Ok(n) => n.min(MAX_REQUEST_LINE),
            Err(_) => MAX_REQUEST_LINE,
        };
        let fields = match usize::try_from(fields) {
            Ok(n) if (1..=MAX_REQUEST_FIELDS).contains(&n) => n,
            _ => MAX_REQUEST_FIELDS,
        };
        let field_size = match usize::try_from(field_size) {
            Ok(n) if n > 0 => n.min(MAX_FIELD_SIZE),
            _ => DEFAULT_FIELD_SIZE,
        };
        Self { request_line, fields, field_size, ..Self::default() }
    }

    /// Most bytes of a field section, dropped fields included: what the other limits allow.
    pub(crate) fn field_section(&self) -> usize {
        self.fields.saturating_mul(self.field_size.saturating_add(2)).saturating_add(4).min(MAX_FIELD_SECTION)
    }

    /// Most bytes that a head may take before it is complete or rejected: an empty line before the request
    /// line, the request line, and the field section with its end. A receive buffer need not be larger.
    pub fn head(&self) -> usize {
        2 + self.request_line.saturating_add(2).saturating_add(self.field_section()).saturating_add(2)
    }
}

/// Gunicorn's settings that make the parser accept more than it should. All off by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools)] // one per setting of Gunicorn
pub struct Leniency {
    /// `strip_header_spaces`: whitespace between a field name and the colon is removed.
    pub strip_header_spaces: bool,
    /// `permit_obsolete_folding`: continuation lines are joined by one space.
    pub permit_obsolete_folding: bool,
    /// `permit_unconventional_http_method`: any token, not only 3 to 20 characters without `a-z` and `#`.
    pub permit_unconventional_http_method: bool,
    /// `permit_unconventional_http_version`: any `HTTP/digit.digit`, not only 1.x.
    pub permit_unconventional_http_version: bool,
    /// `casefold_http_method`: the method is upper-cased.
    pub casefold_http_method: bool,
}

/// All that a parser goes by. `Default` is Gunicorn 27's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParserConfig {
    pub limits: Limits,
    pub leniency: Leniency,
    pub header_map: HeaderMap,
    /// Names with underscores that a trusted proxy may send in spite of `header_map`; `*` is all. Any case.
    pub forwarder_headers: Vec<String>,
    /// Fields by which a trusted proxy tells the scheme, and the exact value that means https. Names in any case.
    pub secure_scheme_headers: Vec<(String, String)>,
    /// The connections speak TLS, so that anybody may ask for https resources.
    pub secure: bool,
}

impl Default for ParserConfig {
    fn default() -> Self {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Self {
            limits: Limits::default(),
            leniency: Leniency::default(),
            header_map: HeaderMap::default(),
            forwarder_headers: vec!["SCRIPT_NAME".to_owned(), "PATH_INFO".to_owned()],
            secure_scheme_headers: vec![
                pair("X-FORWARDED-PROTOCOL", "ssl"),
                pair("X-FORWARDED-PROTO", "https"),
                pair("X-FORWARDED-SSL", "on"),
            ],
            secure: false,
        }
    }
}
