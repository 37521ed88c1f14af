//! Where the body of a request ends (RFC 9112 §6).

use crate::config::Limits;
use crate::fields::Facts;
use crate::grammar::list_members;
use crate::head::{BodyKind, Version};
use crate::reject::{CodingFault, Excerpt, Reject, RejectReason};

/// What the Transfer-Encoding fields have said so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Codings, but none is chunked.
    Other,
    /// The last coding is chunked.
    Chunked,
}

/// Takes the codings of one Transfer-Encoding field. Compressions under chunked are passed on as they are (the
/// application sees the field), as Gunicorn does; unknown codings are refused.
pub(crate) fn take_codings(
    coding: &mut Option<Coding>,
    inner: &mut bool,
    value: &[u8],
) -> Result<(), Reject> {
    for name in list_members(value) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let next = if is("chunked") {
            Coding::Chunked
        } else if is("identity") {
            Coding::Other
        } else if is("gzip") || is("deflate") || is("compress") {
            *inner = true;
            Coding::Other
        } else {
            return Err(RejectReason::UnsupportedCoding(Excerpt::of(value)).into());
        };
        if *coding == Some(Coding::Chunked) {
            let fault = CodingFault::ChunkedNotLast;
            return Err(RejectReason::TransferEncoding { value: Excerpt::of(value), fault }.into());
        }
        *coding = Some(next);
    }
    Ok(())
}

/// How the body is delimited, or why that cannot be said. Several or malformed Content-Length fields were
/// refused when they were met.
///
/// `coding` quotes the Transfer-Encoding field for the log.
pub(crate) fn body_kind(
    facts: &Facts,
    version: Version,
    limits: &Limits,
    coding: impl FnOnce() -> Excerpt,
) -> Result<BodyKind, Reject> {
    let fault = |fault| Err(RejectReason::TransferEncoding { value: coding(), fault }.into());
    match (facts.coding, facts.content_length) {
        (Some(Coding::Other), _) => fault(CodingFault::NotChunked),
        (Some(Coding::Chunked), _) if version < Version::HTTP_11 => fault(CodingFault::OldVersion),
        (Some(Coding::Chunked), Some(_)) => Err(RejectReason::LengthAndCoding.into()),
        (Some(Coding::Chunked), None) => Ok(BodyKind::Chunked),
        (None, Some(length)) => match limits.body {
            Some(limit) if length > limit => Err(RejectReason::BodyTooLarge { limit }.into()),
            _ => Ok(BodyKind::Length(length)),
        },
        (None, None) => Ok(BodyKind::None),
    }
}
