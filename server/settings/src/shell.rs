//! The man page and the completions of shells, made from the command line.
//!
//! `UPDATE_REFERENCE=1 cargo test -p podicorn-settings shell` writes them to `docs/man` and `docs/completions`.

use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli;

/// The other programs in the same file; each has a `--help` of its own.
const PROGRAMS: [(&str, &str); 3] = [
    ("ctl", "Look at and steer a running server by its admin API."),
    ("migrate", "Say what becomes of each setting and hook of a Gunicorn config file."),
    ("simulate", "Compare scaling policies in virtual time."),
];

fn command() -> Command {
    PROGRAMS
        .into_iter()
        .fold(cli::command(), |command, (name, about)| command.subcommand(Command::new(name).about(about)))
        // The page names each of them; `help` is not one.
        .disable_help_subcommand(true)
}

fn pages() -> Vec<(&'static str, Vec<u8>)> {
    let completions = [
        ("completions/podicorn.bash", Shell::Bash),
        ("completions/_podicorn", Shell::Zsh),
        ("completions/podicorn.fish", Shell::Fish),
    ];
    let mut pages: Vec<(&str, Vec<u8>)> = completions
        .into_iter()
        .map(|(path, shell)| {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command(), "podicorn", &mut text);
            (path, text)
        })
        .collect();
    let mut page = Vec::new();
    Man::new(command()).render(&mut page).unwrap();
    pages.push(("man/podicorn.1", page));
    // Lines that end in spaces would not survive an editor.
    for (_, text) in &mut pages {
        let trimmed: Vec<String> = String::from_utf8(std::mem::take(text))
            .unwrap()
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect();
        *text = (trimmed.join("\n") + "\n").into_bytes();
    }
    pages
}

/// From the package's directory, where tests run: checkouts may share what they build.
fn docs(path: &str) -> PathBuf {
    PathBuf::from("../../docs").join(path)
}

#[test]
fn man_page_and_completions_are_up_to_date() {
    for (path, text) in pages() {
        let path = docs(path);
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        assert!(
            std::fs::read(&path).unwrap_or_default() == text,
            "{} is stale: run UPDATE_REFERENCE=1 cargo test -p podicorn-settings shell",
            path.display()
        );
    }
}

#[test]
fn every_flag_that_help_lists_is_in_each_of_them() {
    for (path, text) in pages() {
        let text = String::from_utf8(text).unwrap().replace("\\-", "-");
        for setting in crate::table().iter().filter(|setting| setting.listed()) {
            let flag = setting.long_flag().unwrap().trim_start_matches('-');
            assert!(text.contains(flag), "{path}: {flag}");
        }
    }
}
