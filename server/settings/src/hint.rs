//! Guesses at what a misspelled name was meant to be.

use crate::table;

/// For names in a config file that are close to a setting's name without being one: a sentence for the log. Gunicorn
/// ignores unknown names without a word, since any global variable of the file is one.
pub fn unknown_names_hint<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    names.into_iter().filter_map(hint).collect()
}

fn hint(name: &str) -> Option<String> {
    if name.starts_with('_') || table::find(name).is_some() {
        return None;
    }
    let lower = name.to_lowercase();
    let (meant, likeness) = table::table()
        .iter()
        .filter(|setting| setting.in_config_file)
        .map(|setting| (setting.name, strsim::jaro_winkler(&lower, setting.name)))
        .max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (likeness > 0.9)
        .then(|| format!("the name {name} is not a setting and has no effect; did you mean {meant}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_misses_are_hinted_at() {
        let hints =
            unknown_names_hint(["worker", "Workers", "keep_alive", "workers", "_private", "DATABASES", "os"]);
        assert_eq!(
            hints,
            [
                "the name worker is not a setting and has no effect; did you mean workers?",
                "the name Workers is not a setting and has no effect; did you mean workers?",
                "the name keep_alive is not a setting and has no effect; did you mean keepalive?",
            ]
        );
    }
}
