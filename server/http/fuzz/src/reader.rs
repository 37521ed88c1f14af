//! Plain readers of what the crate has accepted: whole input, no state, no limits.

use podicorn_http::{HeaderMap, ParserConfig, Version};

use crate::bytes::Bytes;
use crate::grammar::{find, is_field_value, is_space, is_tchar, is_token, trim};

/// A field: name and value.
pub type Field = (Bytes, Bytes);

/// A field section up to and with the empty line that ends it.
#[derive(Debug, Default)]
pub struct Section {
    pub fields: Vec<Field>,
    pub len: usize,
    /// The longest field line, with CRLF and continuation lines.
    pub longest: usize,
}

/// What a reader says about bytes.
#[derive(Debug)]
pub enum Read<T> {
    Complete(T),
    /// Nothing wrong yet.
    Incomplete,
    Invalid,
}

/// The lines of a section, as the leniency settings have them read.
pub fn section(bytes: &[u8], cfg: &ParserConfig) -> Read<Section> {
    let mut section = Section::default();
    loop {
        let rest = &bytes[section.len..];
        let Some(end) = find(rest, b"\r\n") else { return Read::Incomplete };
        if end == 0 {
            section.len += 2;
            return Read::Complete(section);
        }
        let field = match field_len(rest, cfg.leniency.permit_obsolete_folding) {
            Read::Complete(len) => &rest[..len],
            Read::Incomplete => return Read::Incomplete,
            Read::Invalid => return Read::Invalid,
        };
        let mut lines =
            field.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let first = lines.next().unwrap_or_default();
        let Some(colon) = first.iter().position(|&byte| byte == b':') else { return Read::Invalid };
        let mut name = &first[..colon];
        if cfg.leniency.strip_header_spaces {
            name = &name[..name.iter().rposition(|&byte| !is_space(byte)).map_or(0, |last| last + 1)];
        }
        let value: Vec<&[u8]> = std::iter::once(&first[colon + 1..]).chain(lines).map(trim).collect();
        let value = Bytes::of(trim(&value.join(&b' ')));
        if !is_token(name) || !is_field_value(&value) {
            return Read::Invalid;
        }
        section.fields.push((Bytes::of(name), value));
        section.len += field.len();
        section.longest = section.longest.max(field.len());
    }
}

/// The length of the first field with its continuation lines.
fn field_len(bytes: &[u8], fold: bool) -> Read<usize> {
    let mut len = 0;
    loop {
        let rest = &bytes[len..];
        if find(rest, b"\n").is_none() {
            return Read::Incomplete;
        }
        let Some(line) = line_len(rest) else { return Read::Invalid };
        len += line;
        if !fold {
            return Read::Complete(len);
        }
        match bytes.get(len) {
            None => return Read::Incomplete,
            Some(&byte) if is_space(byte) => {}
            Some(_) => return Read::Complete(len),
        }
    }
}

/// The length of a line that CRLF ends; `None`: a bare LF does.
fn line_len(bytes: &[u8]) -> Option<usize> {
    let lf = find(bytes, b"\n")?;
    (lf > 0 && bytes[lf - 1] == b'\r').then_some(lf + 1)
}

/// Whether `header_map` lets a field through to the application.
pub fn passes(name: &[u8], cfg: &ParserConfig, trusted: bool) -> bool {
    let forwarded = |allowed: &String| allowed == "*" || allowed.as_bytes().eq_ignore_ascii_case(name);
    !name.contains(&b'_')
        || cfg.header_map == HeaderMap::Dangerous
        || (trusted && cfg.forwarder_headers.iter().any(forwarded))
}

/// A request head.
#[derive(Debug)]
pub struct Request {
    pub method: Bytes,
    pub target: Bytes,
    pub version: Version,
    /// Of the request line without its CRLF.
    pub line_len: usize,
    pub section: Section,
    pub len: usize,
}

/// The head at the start of `buf`, which the crate has accepted.
pub fn request(buf: &[u8], cfg: &ParserConfig) -> Request {
    let start = if buf.starts_with(b"\r\n") { 2 } else { 0 };
    let line_len = find(&buf[start..], b"\r\n").expect("an accepted head has a line");
    let line = &buf[start..start + line_len];
    let parts: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let [method, target, version] = parts[..] else { panic!("not three parts: {}", line.escape_ascii()) };
    let [b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] = version else {
        panic!("not a version: {}", line.escape_ascii());
    };
    let fields = start + line_len + 2;
    let Read::Complete(section) = section(&buf[fields..], cfg) else {
        panic!("not a field section: {}", buf[fields..].escape_ascii());
    };
    Request {
        method: Bytes::of(method),
        target: Bytes::of(target),
        version: Version { major: major - b'0', minor: minor - b'0' },
        line_len,
        len: fields + section.len,
        section,
    }
}

/// A chunked body.
#[derive(Debug, Default)]
pub struct Chunked {
    pub body: Bytes,
    pub trailers: Section,
    pub len: usize,
    /// The longest line with a chunk size, without CRLF.
    pub longest: usize,
    /// All that followed a size on its line, together.
    pub extensions: usize,
}

/// The chunked body at the start of `input` (RFC 9112 §7.1).
pub fn chunked(input: &[u8], cfg: &ParserConfig) -> Read<Chunked> {
    let mut chunked = Chunked::default();
    loop {
        let rest = &input[chunked.len..];
        let Some(end) = find(rest, b"\r\n") else { return Read::Incomplete };
        let Some((size, extensions)) = size_line(&rest[..end]) else { return Read::Invalid };
        chunked.longest = chunked.longest.max(end);
        chunked.extensions += extensions;
        chunked.len += end + 2;
        let rest = &input[chunked.len..];
        if size == 0 {
            return match section(rest, cfg) {
                Read::Complete(section) => {
                    chunked.len += section.len;
                    chunked.trailers = section;
                    Read::Complete(chunked)
                }
                Read::Incomplete => Read::Incomplete,
                Read::Invalid => Read::Invalid,
            };
        }
        if (chunked.body.len() as u64).checked_add(size).is_none() {
            return Read::Invalid;
        }
        let Some(data) = usize::try_from(size).ok().and_then(|size| rest.get(..size)) else {
            return Read::Incomplete;
        };
        chunked.body.0.extend_from_slice(data);
        let behind = &rest[data.len()..];
        if behind.len() < 2 && b"\r\n".starts_with(behind) {
            return Read::Incomplete;
        }
        if !behind.starts_with(b"\r\n") {
            return Read::Invalid;
        }
        chunked.len += data.len() + 2;
    }
}

/// `chunk-size [ chunk-ext ]`: the size, and the length of the extensions.
fn size_line(line: &[u8]) -> Option<(u64, usize)> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let size = std::str::from_utf8(&line[..digits]).ok()?;
    let mut rest = &line[digits..];
    while !rest.is_empty() {
        rest = extension(rest)?;
    }
    Some((u64::from_str_radix(size, 16).ok()?, line.len() - digits))
}

/// Takes `BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ]` (RFC 9112 §7.1.1).
fn extension(line: &[u8]) -> Option<&[u8]> {
    let line = token(skip_space(skip_space(line).strip_prefix(b";")?))?;
    let Some(value) = skip_space(line).strip_prefix(b"=") else { return Some(line) };
    match skip_space(value) {
        [b'"', quoted @ ..] => quoted_end(quoted),
        value => token(value),
    }
}

fn skip_space(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|&&byte| is_space(byte)).count()..]
}

fn token(bytes: &[u8]) -> Option<&[u8]> {
    let len = bytes.iter().take_while(|&&byte| is_tchar(byte)).count();
    if len > 0 { Some(&bytes[len..]) } else { None }
}

/// What follows the closing quote (RFC 9110 §5.6.4).
fn quoted_end(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        bytes = match bytes {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', b'\t' | b' '..=b'~' | 0x80.., rest @ ..]
            | [b'\t' | b' '..=b'[' | b']'..=b'~' | 0x80.., rest @ ..] => rest,
            _ => return None,
        };
    }
}
