//! Gunicorn's access-log format, compiled once: `%(h)s … %({x-request-id}i)s`.
//!
//! The syntax is that of Python's `%` operator with names. Flags `-` and `0`, a width and a precision are understood for
//! the conversions `s`, `r`, `a`, `d` and `i`. An atom that does not exist prints `-`, as in Gunicorn.

/// One value of a request that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Atom {
    /// `h`
    RemoteAddress,
    /// `u`
    User,
    /// `t`
    Time,
    /// `r`
    RequestLine,
    /// `s`
    Status,
    /// `m`
    Method,
    /// `U`
    Path,
    /// `q`
    Query,
    /// `H`
    Protocol,
    /// `b` and `B`: bytes of the body on the wire
    BodyBytes,
    /// `f`
    Referrer,
    /// `a`
    UserAgent,
    /// `T`
    Seconds,
    /// `D`
    Microseconds,
    /// `M`
    Milliseconds,
    /// `L`
    DecimalSeconds,
    /// `p`
    ProcessId,
    /// `{name}i`, in lower case
    RequestHeader(String),
    /// `{name}o`, in lower case
    ResponseHeader(String),
    /// `{name}e`, in lower case
    Environ(String),
    /// `l`, and any other name
    Dash,
}

/// How an atom's text is laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Layout {
    left: bool,
    zero: bool,
    quoted: bool,
    width: usize,
    precision: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Atom(Atom, Layout),
}

/// A compiled format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    pieces: Vec<Piece>,
}

/// A width beyond this is a typing error.
const WIDEST: usize = 1000;

impl Format {
    /// Compiles a format; the error says what is wrong with it.
    pub(crate) fn parse(format: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = format;
        while let Some(percent) = rest.find('%') {
            text.push_str(&rest[..percent]);
            rest = &rest[percent + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                text.push('%');
                rest = after;
                continue;
            }
            let (name, after) =
                rest.strip_prefix('(').and_then(|inner| inner.split_once(')')).ok_or_else(|| {
                    format!("{format:?}: every % must begin an atom such as %(h)s, or be written %%")
                })?;
            let (layout, after) =
                parse_layout(after).map_err(|why| format!("{format:?}: %({name}): {why}"))?;
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Atom(atom(name), layout));
            rest = after;
        }
        text.push_str(rest);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Self { pieces })
    }

    /// Appends one line, newline included. `value` appends the plain text of an atom.
    pub(crate) fn write(&self, line: &mut Vec<u8>, mut value: impl FnMut(&Atom, &mut Vec<u8>)) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => line.extend_from_slice(text.as_bytes()),
                Piece::Atom(atom, layout) => {
                    let start = line.len();
                    value(atom, line);
                    // Nearly always it is right as it stands.
                    if *layout != Layout::default() || needs_escape(&line[start..]) {
                        let plain = line.split_off(start);
                        lay_out(&plain, *layout, line);
                    }
                }
            }
        }
        line.push(b'\n');
    }
}

fn atom(name: &str) -> Atom {
    let braced = |end: &str| name.strip_prefix('{').and_then(|inner| inner.strip_suffix(end));
    if let Some(header) = braced("}i").or_else(|| braced("}I")) {
        return Atom::RequestHeader(header.to_lowercase());
    }
    if let Some(header) = braced("}o").or_else(|| braced("}O")) {
        return Atom::ResponseHeader(header.to_lowercase());
    }
    if let Some(variable) = braced("}e").or_else(|| braced("}E")) {
        return Atom::Environ(variable.to_lowercase());
    }
    match name {
        "h" => Atom::RemoteAddress,
        "u" => Atom::User,
        "t" => Atom::Time,
        "r" => Atom::RequestLine,
        "s" => Atom::Status,
        "m" => Atom::Method,
        "U" => Atom::Path,
        "q" => Atom::Query,
        "H" => Atom::Protocol,
        "b" | "B" => Atom::BodyBytes,
        "f" => Atom::Referrer,
        "a" => Atom::UserAgent,
        "T" => Atom::Seconds,
        "D" => Atom::Microseconds,
        "M" => Atom::Milliseconds,
        "L" => Atom::DecimalSeconds,
        "p" => Atom::ProcessId,
        _ => Atom::Dash,
    }
}

fn parse_layout(text: &str) -> Result<(Layout, &str), String> {
    let mut layout = Layout::default();
    let mut rest = text;
    while let Some(flag) = rest.chars().next().filter(|flag| "-0+ #".contains(*flag)) {
        layout.left |= flag == '-';
        layout.zero |= flag == '0';
        rest = &rest[1..];
    }
    (layout.width, rest) = parse_number(rest)?;
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = parse_number(after)?;
        layout.precision = Some(precision);
        rest = after;
    }
    let conversion = rest.chars().next().ok_or("the conversion is missing; write %(h)s")?;
    match conversion {
        's' | 'd' | 'i' | 'u' => {}
        'r' | 'a' => layout.quoted = true,
        other => return Err(format!("conversion {other:?} is not one of s, d, i, u, r, a")),
    }
    layout.zero &= !layout.left && matches!(conversion, 'd' | 'i' | 'u');
    Ok((layout, &rest[1..]))
}

fn parse_number(text: &str) -> Result<(usize, &str), String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = if digits == 0 { Ok(0) } else { text[..digits].parse() };
    match number {
        Ok(number) if number <= WIDEST => Ok((number, &text[digits..])),
        _ => Err(format!("a width or precision above {WIDEST}")),
    }
}

/// Appends `plain` safely: no quote or control character of a client may end a field or a line.
fn lay_out(plain: &[u8], layout: Layout, line: &mut Vec<u8>) {
    let plain = match layout.precision {
        Some(precision) if precision < plain.len() => &plain[..precision],
        _ => plain,
    };
    let start = line.len();
    if layout.quoted {
        line.push(b'\'');
    }
    escape(plain, line);
    if layout.quoted {
        line.push(b'\'');
    }
    let missing = layout.width.saturating_sub(line.len() - start);
    if missing == 0 {
        return;
    }
    let fill = if layout.zero { b'0' } else { b' ' };
    line.resize(line.len() + missing, fill);
    if !layout.left {
        line[start..].rotate_right(missing);
    }
}

/// Whether [`escape`] would change anything.
#[allow(clippy::needless_bitwise_bool)] // without branches it is done for many bytes at a time
fn needs_escape(plain: &[u8]) -> bool {
    plain.iter().fold(false, |found, byte| found | (*byte < 0x20) | (*byte == 0x7f) | (*byte == b'"'))
}

/// `"` becomes `\"` as in Gunicorn; control characters become `\xNN`.
fn escape(plain: &[u8], line: &mut Vec<u8>) {
    for byte in plain {
        match byte {
            b'"' => line.extend_from_slice(b"\\\""),
            0..0x20 | 0x7f => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                line.extend_from_slice(b"\\x");
                line.extend([byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]));
            }
            _ => line.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(format: &str) -> String {
        let mut line = Vec::new();
        Format::parse(format).unwrap().write(&mut line, |atom, out| {
            let text = match atom {
                Atom::Status => "200".to_owned(),
                Atom::UserAgent => "a\"b\n\x7f".to_owned(),
                Atom::RequestHeader(name) => format!("<{name}>"),
                Atom::Environ(name) => format!("env {name}"),
                _ => "-".to_owned(),
            };
            out.extend_from_slice(text.as_bytes());
        });
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn text_atoms_and_percent_signs() {
        assert_eq!(render("100%% %(s)s!"), "100% 200!\n");
        assert_eq!(render(""), "\n");
        assert_eq!(render("%({X-Id}i)s %({REMOTE_PORT}e)s"), "<x-id> env remote_port\n");
        assert_eq!(render("%(nonsense)s %(l)s"), "- -\n");
    }

    #[test]
    fn widths_and_flags_are_pythons() {
        assert_eq!(render("[%(s)5s]"), "[  200]\n");
        assert_eq!(render("[%(s)-5s]"), "[200  ]\n");
        assert_eq!(render("[%(s)05d]"), "[00200]\n");
        assert_eq!(render("[%(s).2s]"), "[20]\n");
        assert_eq!(render("[%(s)r]"), "['200']\n");
    }

    #[test]
    fn a_client_cannot_end_a_field_or_a_line() {
        assert_eq!(render("\"%(a)s\""), "\"a\\\"b\\x0a\\x7f\"\n");
    }

    #[test]
    fn bad_formats_are_refused_with_a_reason() {
        for bad in ["%", "%h", "%(h", "%(h)", "%(h)z", "%(h)99999s"] {
            assert!(Format::parse(bad).is_err(), "{bad}");
        }
    }
}
