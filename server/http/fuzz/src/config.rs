//! A parser's configuration, chosen by the first bytes of an input.

use podicorn_http::{HeaderMap, Leniency, Limits, ParserConfig};

const REQUEST_LINES: [i64; 8] = [4094, 0, -1, 14, 16, 40, 1, 100];
const FIELD_SIZES: [i64; 8] = [8190, 0, 1, 2, 12, 30, 64, 1 << 40];
const FIELDS: [i64; 8] = [100, 0, -1, 1, 2, 3, 7, 1 << 40];
const BODIES: [Option<u64>; 4] = [None, Some(1), Some(10), Some(u64::MAX)];
const CHUNK_EXTENSIONS: [usize; 2] = [16 * 1024, 9];

/// How to parse: the configuration, and whether the peer is a trusted proxy.
#[derive(Debug, Clone)]
pub struct Rules {
    pub cfg: ParserConfig,
    pub trusted: bool,
}

/// Takes the first `N` bytes; `@` stands for missing ones.
pub fn take<const N: usize>(input: &[u8]) -> ([u8; N], &[u8]) {
    let (chosen, rest) = input.split_at(input.len().min(N));
    let mut choices = [b'@'; N];
    choices[..chosen.len()].copy_from_slice(chosen);
    (choices, rest)
}

/// Takes the four bytes that choose the rules:
///
/// | byte | bits | |
/// |---|---|---|
/// | 0 | 0–4 | leniency: strip spaces, folding, any method, any version, case-fold the method |
/// |   | 5 | connections speak TLS |
/// | 1 | 0–1 | `header_map`: drop, refuse, dangerous, drop |
/// |   | 2 | the peer is a trusted proxy |
/// |   | 3–4 | `forwarder_headers`: default, none, all, one of its own |
/// | 2 | 0–2, 3–5 | limit of the request line, of a field |
/// | 3 | 0–2, 3–4, 5 | limit of the number of fields, of the body, of chunk extensions |
pub fn take_rules(input: &[u8]) -> (Rules, &[u8]) {
    let ([leniency, headers, sizes, numbers], rest) = take(input);
    let bit = |byte: u8, index: u8| byte >> index & 1 == 1;
    let pick = |byte: u8, from: u8, options: usize| usize::from(byte >> from) % options;
    let default = ParserConfig::default();
    let cfg = ParserConfig {
        limits: Limits {
            body: BODIES[pick(numbers, 3, BODIES.len())],
            chunk_extensions: CHUNK_EXTENSIONS[pick(numbers, 5, CHUNK_EXTENSIONS.len())],
            ..Limits::from_settings(
                REQUEST_LINES[pick(sizes, 0, REQUEST_LINES.len())],
                FIELDS[pick(numbers, 0, FIELDS.len())],
                FIELD_SIZES[pick(sizes, 3, FIELD_SIZES.len())],
            )
        },
        leniency: Leniency {
            strip_header_spaces: bit(leniency, 0),
            permit_obsolete_folding: bit(leniency, 1),
            permit_unconventional_http_method: bit(leniency, 2),
            permit_unconventional_http_version: bit(leniency, 3),
            casefold_http_method: bit(leniency, 4),
        },
        header_map: [HeaderMap::Drop, HeaderMap::Refuse, HeaderMap::Dangerous, HeaderMap::Drop]
            [pick(headers, 0, 4)],
        forwarder_headers: match pick(headers, 3, 4) {
            0 => default.forwarder_headers,
            1 => Vec::new(),
            2 => vec!["*".to_owned()],
            _ => vec!["x_y".to_owned()],
        },
        secure_scheme_headers: default.secure_scheme_headers,
        secure: bit(leniency, 5),
    };
    (Rules { cfg, trusted: bit(headers, 2) }, rest)
}

/// Rules that accept whatever these accept, and read it the same.
pub fn looser(rules: &Rules) -> Rules {
    let leniency = Leniency {
        strip_header_spaces: true,
        permit_obsolete_folding: true,
        permit_unconventional_http_method: true,
        permit_unconventional_http_version: true,
        ..rules.cfg.leniency.clone()
    };
    let cfg = ParserConfig { limits: Limits::from_settings(0, 0, 1 << 24), leniency, ..rules.cfg.clone() };
    Rules { cfg, trusted: rules.trusted }
}
