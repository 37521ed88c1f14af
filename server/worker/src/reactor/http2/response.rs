//! The engine's response, read back from its text.

use std::sync::LazyLock;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Response, StatusCode};
use podicorn_http::{BodyDecoder, BodyKind, ParserConfig};

/// Bytes of a body that are decoded at a time.
const STEP: usize = 64 * 1024;
/// For the engine's own responses.
static OWN: LazyLock<ParserConfig> = LazyLock::new(ParserConfig::default);

/// It is no response that can be sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// What has been read.
pub(super) enum News {
    /// More bytes are needed.
    None,
    /// 1xx.
    Interim(Response<()>),
    /// `bodiless`: it is all there is.
    Head {
        response: Response<()>,
        bodiless: bool,
    },
    Body(Vec<u8>),
    /// The body has ended.
    End {
        trailers: Option<HeaderMap>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Body,
    /// The end of the stream is the end of the body.
    UntilEnd,
    Done,
}

/// Reads one response.
pub(super) struct Reader {
    raw: Vec<u8>,
    state: State,
    decoder: BodyDecoder,
    /// The request is a HEAD.
    head_only: bool,
}

impl Reader {
    pub(super) fn new(head_only: bool) -> Self {
        Self { raw: Vec::new(), state: State::Head, decoder: BodyDecoder::default(), head_only }
    }

    /// More has come.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
    }

    /// Nothing more comes.
    pub(super) fn end_of_input(&mut self) -> Result<News, Broken> {
        if self.state == State::UntilEnd && self.raw.is_empty() {
            self.state = State::Done;
            return Ok(News::End { trailers: None });
        }
        Err(Broken)
    }

    /// What can be made of what has come.
    pub(super) fn next(&mut self) -> Result<News, Broken> {
        match self.state {
            State::Head => self.head(),
            State::Body => self.body(),
            State::UntilEnd if self.raw.is_empty() => Ok(News::None),
            State::UntilEnd => Ok(News::Body(std::mem::take(&mut self.raw))),
            State::Done => Ok(News::None),
        }
    }

    fn head(&mut self) -> Result<News, Broken> {
        let Some(end) = memchr::memmem::find(&self.raw, b"\r\n\r\n") else { return Ok(News::None) };
        let lines = memchr::memchr_iter(b'\n', &self.raw[..end]).count();
        let mut fields = vec![httparse::EMPTY_HEADER; lines];
        let mut parsed = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(length) = parsed.parse(&self.raw).map_err(|_| Broken)? else {
            return Ok(News::None);
        };
        let status = StatusCode::from_u16(parsed.code.ok_or(Broken)?).map_err(|_| Broken)?;
        let mut headers = HeaderMap::with_capacity(parsed.headers.len());
        let mut chunked = false;
        for field in parsed.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Broken)?;
            // RFC 9113 §8.2.2.
            chunked |= name == TRANSFER_ENCODING;
            if name == CONNECTION || name == TRANSFER_ENCODING || name == UPGRADE || name == "keep-alive" {
                continue;
            }
            headers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| Broken)?);
        }
        self.raw.drain(..length);
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if status.is_informational() {
            // There is no other protocol to change to.
            return if status == StatusCode::SWITCHING_PROTOCOLS {
                Err(Broken)
            } else {
                Ok(News::Interim(response))
            };
        }
        let kind = if chunked { Some(BodyKind::Chunked) } else { length.map(BodyKind::Length) };
        let bodiless = self.head_only
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || kind == Some(BodyKind::Length(0));
        self.state = match kind {
            _ if bodiless => State::Done,
            Some(kind) => {
                self.decoder.start(kind, &OWN);
                State::Body
            }
            None => State::UntilEnd,
        };
        Ok(News::Head { response, bodiless })
    }

    fn body(&mut self) -> Result<News, Broken> {
        let mut out = Vec::new();
        let progress = self.decoder.decode(&self.raw, &mut out, STEP).map_err(|_| Broken)?;
        self.raw.drain(..progress.consumed);
        if !out.is_empty() {
            return Ok(News::Body(out));
        }
        if !progress.done {
            return Ok(News::None);
        }
        self.state = State::Done;
        let mut trailers = HeaderMap::new();
        for (_, name, value) in self.decoder.trailers() {
            let name = HeaderName::from_bytes(name).map_err(|_| Broken)?;
            trailers.append(name, HeaderValue::from_bytes(value).map_err(|_| Broken)?);
        }
        Ok(News::End { trailers: (!trailers.is_empty()).then_some(trailers) })
    }

    /// Whether the body is known to be over with what has been given out.
    pub(super) fn is_at_its_end(&self) -> bool {
        self.state == State::Body
            && self.raw.is_empty()
            && self.decoder.is_done()
            && self.decoder.trailers().next().is_none()
    }
}
