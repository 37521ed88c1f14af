//! What the `OTEL_*` variables ask for (OpenTelemetry specification, "Environment Variable Specification" and "OTLP
//! Exporter"). Pure: the variables are handed in.
//!
//! A variable that is empty is not set. A value that makes no sense is left out with a warning, as the specification
//! demands: telemetry does not keep a server from starting.

use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use super::sampling::Sampling;

/// How spans travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Protobuf bodies by HTTP/1.1.
    Http,
    /// The same messages as gRPC, by HTTP/2.
    Grpc,
}

/// Everything that the export goes by.
#[derive(Debug, Clone)]
pub(super) struct ExportSettings {
    /// With the path that requests go to.
    pub(super) endpoint: Uri,
    pub(super) protocol: Protocol,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) gzip: bool,
    /// PEM file of the certificates to trust instead of the system's.
    pub(super) certificate: Option<String>,
    /// For one attempt.
    pub(super) timeout: Duration,
    /// Spans that wait at most.
    pub(super) queue: usize,
    /// Spans of one request at most.
    pub(super) batch: usize,
    /// How long a span waits for others.
    pub(super) delay: Duration,
    pub(super) sampling: Sampling,
}

const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// More than the specification's 2048: a full batch is sent at once, and bursts of many workers have room.
const QUEUE: usize = 8192;
const BATCH: usize = 512;
const DELAY: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is to be exported, `None` for nothing; and what was set and is not followed.
pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> (Option<ExportSettings>, Vec<String>) {
    let mut reader = Reader { variable: &variable, warnings: Vec::new() };
    (settings(&mut reader), reader.warnings)
}

fn settings<F: Fn(&str) -> Option<String>>(reader: &mut Reader<'_, F>) -> Option<ExportSettings> {
    if reader.text("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return None;
    }
    if let Some(exporters) = reader.text("OTEL_TRACES_EXPORTER")
        && !exporters.split(',').any(|one| one.trim() == "otlp")
    {
        return None;
    }
    let protocol = reader.protocol();
    let endpoint = reader.endpoint(protocol)?;
    let queue = reader.number("OTEL_BSP_MAX_QUEUE_SIZE").unwrap_or(QUEUE).max(1);
    let batch = reader.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE").unwrap_or(BATCH).clamp(1, queue);
    Some(ExportSettings {
        endpoint,
        protocol,
        headers: reader.headers(),
        gzip: reader.gzip(),
        certificate: reader.of_traces("CERTIFICATE"),
        timeout: reader.milliseconds_of_traces("TIMEOUT").unwrap_or(TIMEOUT),
        queue,
        batch,
        delay: reader.number("OTEL_BSP_SCHEDULE_DELAY").map_or(DELAY, milliseconds),
        sampling: reader.sampling(),
    })
}

struct Reader<'a, F> {
    variable: &'a F,
    warnings: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Reader<'_, F> {
    fn text(&self, name: &str) -> Option<String> {
        (self.variable)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// The variable of the signal, or the one for all signals.
    fn of_traces(&self, name: &str) -> Option<String> {
        self.text(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
            .or_else(|| self.text(&format!("OTEL_EXPORTER_OTLP_{name}")))
    }

    fn warn(&mut self, name: &str, value: &str, instead: &str) {
        self.warnings.push(format!("{name}: {value:?} is not understood; {instead}"));
    }

    fn number(&mut self, name: &str) -> Option<usize> {
        let text = self.text(name)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.warn(name, &text, "the default is used");
        }
        number
    }

    fn milliseconds_of_traces(&mut self, name: &str) -> Option<Duration> {
        let text = self.of_traces(name)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.warn(&format!("OTEL_EXPORTER_OTLP_{name}"), &text, "the default is used");
        }
        number.map(milliseconds)
    }

    fn protocol(&mut self) -> Protocol {
        match self.of_traces("PROTOCOL").as_deref() {
            None | Some("http/protobuf") => Protocol::Http,
            Some("grpc") => Protocol::Grpc,
            Some(other) => {
                self.warn("OTEL_EXPORTER_OTLP_PROTOCOL", other, "http/protobuf is used (there is grpc, too)");
                Protocol::Http
            }
        }
    }

    fn endpoint(&mut self, protocol: Protocol) -> Option<Uri> {
        let own = self.text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let is_own = own.is_some();
        let text = own.or_else(|| self.text("OTEL_EXPORTER_OTLP_ENDPOINT"))?;
        let whole = match protocol {
            Protocol::Http if is_own => text.clone(),
            Protocol::Http => format!("{}/v1/traces", text.trim_end_matches('/')),
            Protocol::Grpc => self.grpc_target(&text),
        };
        let uri = whole.parse::<Uri>().ok().filter(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
        });
        if uri.is_none() {
            self.warn("OTEL_EXPORTER_OTLP_ENDPOINT", &text, "it is no http(s) URL: no traces are exported");
        }
        uri
    }

    /// The path of an endpoint is not for gRPC; one without a scheme is as safe as `…_INSECURE` says.
    fn grpc_target(&self, text: &str) -> String {
        let (scheme, rest) = text.split_once("://").unwrap_or_else(|| {
            let insecure = self.of_traces("INSECURE").is_some_and(|text| text.eq_ignore_ascii_case("true"));
            (if insecure { "http" } else { "https" }, text)
        });
        let authority = rest.split('/').next().unwrap_or_default();
        format!("{scheme}://{authority}{GRPC_PATH}")
    }

    /// `name=value,…`; values may be percent-encoded.
    fn headers(&mut self) -> Vec<(HeaderName, HeaderValue)> {
        let text = self.of_traces("HEADERS").unwrap_or_default();
        let mut headers = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let parsed = pair.split_once('=').and_then(|(name, value)| {
                let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
                let mut value = HeaderValue::from_bytes(&percent_decoded(value.trim())).ok()?;
                value.set_sensitive(true);
                Some((name, value))
            });
            match parsed {
                Some(header) => headers.push(header),
                // Not the pair itself: it may hold a secret.
                None => {
                    self.warnings.push("OTEL_EXPORTER_OTLP_HEADERS: an entry is no name=value".to_owned());
                }
            }
        }
        headers
    }

    fn gzip(&mut self) -> bool {
        match self.of_traces("COMPRESSION").as_deref() {
            Some("gzip") => true,
            None | Some("none") => false,
            Some(other) => {
                self.warn("OTEL_EXPORTER_OTLP_COMPRESSION", other, "nothing is compressed");
                false
            }
        }
    }

    fn sampling(&mut self) -> Sampling {
        let Some(name) = self.text("OTEL_TRACES_SAMPLER") else { return Sampling::default() };
        let argument = self.text("OTEL_TRACES_SAMPLER_ARG");
        if let Some(text) = argument.as_deref()
            && name.ends_with("traceidratio")
            && !text.parse::<f64>().is_ok_and(|ratio| (0.0..=1.0).contains(&ratio))
        {
            self.warn("OTEL_TRACES_SAMPLER_ARG", text, "it is from 0 to 1; everything is sampled");
        }
        Sampling::named(&name, argument.as_deref()).unwrap_or_else(|| {
            self.warn("OTEL_TRACES_SAMPLER", &name, "parentbased_always_on is used");
            Sampling::default()
        })
    }
}

fn milliseconds(number: usize) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(u64::MAX))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().iter();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(&byte) = bytes.next() {
        let rest = bytes.as_slice();
        let escaped = (byte == b'%')
            .then(|| rest.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(escaped) = escaped {
            bytes.nth(1);
            decoded.push(escaped);
        } else {
            decoded.push(byte);
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(variables: &[(&str, &str)]) -> (Option<ExportSettings>, Vec<String>) {
        read(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    fn of(variables: &[(&str, &str)]) -> Option<ExportSettings> {
        read_from(variables).0
    }

    const COLLECTOR: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    #[test]
    fn nothing_is_exported_unless_it_is_asked_for() {
        assert!(of(&[]).is_none());
        assert!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).is_none());
        assert!(of(&[COLLECTOR, ("OTEL_SDK_DISABLED", "TRUE")]).is_none());
        assert!(of(&[COLLECTOR, ("OTEL_TRACES_EXPORTER", "none")]).is_none());
        assert!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector")]).is_none());
        assert!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector")]).is_none());
        assert!(of(&[COLLECTOR, ("OTEL_TRACES_EXPORTER", "console,otlp")]).is_some());
    }

    #[test]
    fn the_common_endpoint_gets_a_path_and_the_own_one_does_not() {
        assert_eq!(of(&[COLLECTOR]).unwrap().endpoint, "http://collector:4318/v1/traces");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://other/in?key=1");
        assert_eq!(of(&[COLLECTOR, own]).unwrap().endpoint, "https://other/in?key=1");
    }

    #[test]
    fn grpc_has_its_own_path() {
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let target = |endpoint, more: &[(&str, &str)]| {
            let all = [&[grpc, ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)], more].concat();
            of(&all).unwrap().endpoint.to_string()
        };
        assert_eq!(target("http://c:4317", &[]), format!("http://c:4317{GRPC_PATH}"));
        assert_eq!(target("http://c:4317/v1/traces", &[]), format!("http://c:4317{GRPC_PATH}"));
        assert_eq!(target("c:4317", &[]), format!("https://c:4317{GRPC_PATH}"));
        let insecure = ("OTEL_EXPORTER_OTLP_INSECURE", "true");
        assert_eq!(target("c:4317", &[insecure]), format!("http://c:4317{GRPC_PATH}"));
    }

    #[test]
    fn numbers_and_headers_are_read() {
        let (settings, warnings) = read_from(&[
            COLLECTOR,
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x = y"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ]);
        let settings = settings.unwrap();
        let headers: Vec<(&str, &[u8])> =
            settings.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(headers, [("api-key", b"a b".as_slice()), ("x", b"y")]);
        assert_eq!((settings.timeout, settings.delay), (milliseconds(2500), milliseconds(20)));
        assert_eq!((settings.queue, settings.batch, settings.gzip), (100, 100, true));
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn what_makes_no_sense_is_told_and_left_out() {
        let (settings, warnings) = read_from(&[
            COLLECTOR,
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ]);
        let settings = settings.unwrap();
        assert_eq!((settings.protocol, settings.timeout, settings.queue), (Protocol::Http, TIMEOUT, QUEUE));
        assert_eq!(settings.sampling, Sampling::default());
        assert_eq!(warnings.len(), 5, "{warnings:?}");
        assert!(!warnings.iter().any(|warning| warning.contains("secret")));
        let (settings, warnings) = read_from(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")]);
        assert!(settings.is_none() && warnings[0].contains("no http(s) URL"), "{warnings:?}");
    }

    #[test]
    fn odd_percents_stay() {
        assert_eq!(percent_decoded("a%2Cb%"), b"a,b%");
        assert_eq!(percent_decoded("%zz%4"), b"%zz%4");
    }
}
