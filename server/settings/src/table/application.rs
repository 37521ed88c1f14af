//! What is served, and where its code and settings are found.

use super::{DefaultValue, Kind, Section, Setting, Takes, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Application, kind, help)
}

pub(super) const SETTINGS: &[Setting] = &[
    setting("wsgi_app", Kind::Text, "The app to serve, where the command line names none.")
        .example("myproject.wsgi:application")
        .details(
            "`MODULE` (its attribute `application`), `MODULE:NAME`, or `MODULE:FACTORY(ARGUMENTS)` with literal arguments. \
             The argument on the command line wins.",
        ),
    setting("config", Kind::Text, "Config file: PATH, file:PATH or python:MODULE.")
        .flags(&["-c", "--config"])
        .metavar("CONFIG")
        .default(DefaultValue::Text("./gunicorn.conf.py"))
        .not_in_config_file()
        .example("/etc/app/gunicorn.conf.py")
        .details(
            "Python code, as for Gunicorn: each global variable with a setting's name is that setting. The default is read \
             if it exists; a file asked for must exist.",
        ),
    setting("chdir", Kind::Directory, "Change to this directory before loading the app.")
        .flags(&["--chdir"])
        .metavar("DIR")
        .default(DefaultValue::Computed("the working directory"))
        .example("/app"),
    setting("pythonpath", Kind::Text, "Directories to put in front of sys.path, comma-separated.")
        .flags(&["--pythonpath"])
        .metavar("DIRS")
        .example("/app/src,/app/lib"),
    setting("raw_env", Kind::Pairs, "Set an environment variable for the app: KEY=VALUE. Repeatable.")
        .flags(&["-e", "--env"])
        .takes(Takes::Values)
        .metavar("KEY=VALUE")
        .default(DefaultValue::List(&[]))
        .example("DJANGO_SETTINGS_MODULE=myproject.settings"),
    setting("preload_app", Kind::Flag, "Import the app once, before the workers are forked: they start faster and share memory.")
        .flags(&["--preload"])
        .details(
            "The fork server imports the app, collects garbage and freezes what is left, so that the workers share it \
             copy-on-write. HUP still loads new code, in a new fork server.",
        ),
    setting("python", Kind::Text, "The Python interpreter to run the app with.")
        .flags(&["--python"])
        .metavar("PATH")
        .ours()
        .not_in_config_file()
        .example("/venv/bin/python")
        .details("Not set: the interpreter of the environment that Podicorn is installed in."),
    setting("check_config", Kind::Flag, "Check the settings and load the app, then exit: 0 if all is well, 1 if not.")
        .flags(&["--check-config"]),
    setting("print_config", Kind::Flag, "Print every setting as resolved, check as --check-config does, and exit.")
        .flags(&["--print-config"]),
];
