//! The two text forms that Prometheus reads. Ours is `OpenMetrics`; the older one is made from it line by line, for tools
//! that know no other (`promtool check metrics` among them).

/// The media type of `OpenMetrics` 1.0 text.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The media type of Prometheus' own text.
pub const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    OpenMetrics,
    Classic,
}

impl Form {
    /// By the fields `Accept` of a request: the older form only where it is wanted and the newer one is not, or less.
    pub fn of<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut newer, mut older) = (None::<f32>, None::<f32>);
        for range in accept.into_iter().flat_map(|field| field.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight =
                parts.find_map(|part| part.strip_prefix("q=")).and_then(|q| q.parse().ok()).unwrap_or(1.0);
            let wanted = match media.as_str() {
                "application/openmetrics-text" | "application/*" | "*/*" => &mut newer,
                "text/plain" | "text/*" => &mut older,
                _ => continue,
            };
            *wanted = Some(wanted.map_or(weight, |known| known.max(weight)));
        }
        match (newer, older) {
            (Some(newer), Some(older)) if newer < older => Self::Classic,
            (None, Some(older)) if older > 0.0 => Self::Classic,
            _ => Self::OpenMetrics,
        }
    }
}

/// The same samples in Prometheus' own form: there, comments carry the names of the samples.
pub fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    // `HELP` comes before `TYPE`, and what it is called depends on the type.
    let mut help: Option<(&str, &str)> = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" | "stateset" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, said)) = help.take().filter(|(of, _)| *of == name) {
                // A quotation mark needs no backslash here.
                let said = said.replace("\\\"", "\"");
                text.extend(["# HELP ", name, suffix, " ", &said, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_form_is_the_default() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in [vec![], vec!["*/*"], vec![prometheus], vec!["text/html"], vec!["text/plain, */*"]] {
            assert_eq!(Form::of(accept.clone()), Form::OpenMetrics, "{accept:?}");
        }
        for accept in [vec!["text/plain"], vec!["text/plain;version=0.0.4, */*;q=0.1"], vec!["text/*"]] {
            assert_eq!(Form::of(accept.clone()), Form::Classic, "{accept:?}");
        }
    }

    #[test]
    fn comments_carry_the_names_of_samples() {
        let newer = "# HELP a_seconds Of \\\"b\\\".\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 1.0\n\
                     # TYPE i info\n# HELP i Which.\ni_info{v=\"1\"} 1\n# HELP g G.\n# TYPE g gauge\ng 2\n# EOF\n";
        assert_eq!(
            classic(newer),
            "# HELP a_seconds_total Of \"b\".\n# TYPE a_seconds_total counter\na_seconds_total 1.0\n\
             # TYPE i_info gauge\ni_info{v=\"1\"} 1\n# HELP g G.\n# TYPE g gauge\ng 2\n"
        );
    }
}
