//! Which Python runs the app.
//!
//! Search order: `--python`; the interpreter beside the `podicorn` program itself (its own installation); the one of
//! `$VIRTUAL_ENV`; `python3` on `PATH`.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A program and its leading arguments (`-X dev`, `-O`, …).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// How it was found, for messages.
    pub origin: &'static str,
}

#[derive(Debug, thiserror::Error)]
pub enum InterpreterError {
    #[error(
        "--python: no executable file '{0}'; give the path of a CPython >= 3.10 that has podicorn installed, or leave \
         the setting out"
    )]
    NotThere(String),
    #[error(
        "--python: cannot understand {0:?}: unbalanced quotes; give a program and its arguments, as in a shell"
    )]
    Unbalanced(String),
    #[error(
        "no Python interpreter found: looked for python3 beside {beside}, in $VIRTUAL_ENV and on PATH; \
         install podicorn into a virtualenv with pip, or name the interpreter with --python"
    )]
    NotFound { beside: PathBuf },
}

const NAMES: [&str; 2] = ["python3", "python"];

/// Everything the search looks at.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The path of the running program, links resolved.
    pub program: PathBuf,
    pub virtual_env: Option<PathBuf>,
    pub path: Vec<PathBuf>,
}

impl Surroundings {
    pub fn of_process() -> Self {
        Self {
            program: std::env::current_exe().unwrap_or_default(),
            virtual_env: std::env::var_os("VIRTUAL_ENV").filter(|v| !v.is_empty()).map(PathBuf::from),
            path: std::env::var_os("PATH")
                .map(|path| std::env::split_paths(&path).collect())
                .unwrap_or_default(),
        }
    }
}

/// Finds the interpreter; `asked` is the setting `python`.
pub fn find(asked: Option<&OsStr>, around: &Surroundings) -> Result<Interpreter, InterpreterError> {
    if let Some(asked) = asked {
        return find_asked(asked, around);
    }
    let bin = around.program.parent().unwrap_or(Path::new("/"));
    let places = [
        (Some(bin.to_path_buf()), "beside the podicorn program"),
        (around.virtual_env.as_ref().map(|env| env.join("bin")), "in $VIRTUAL_ENV"),
    ];
    let on_path = around.path.iter().map(|folder| (Some(folder.clone()), "on PATH"));
    for (folder, origin) in places.into_iter().chain(on_path) {
        let Some(folder) = folder else { continue };
        for name in NAMES {
            let program = folder.join(name);
            if is_executable(&program) {
                return Ok(Interpreter { program, arguments: Vec::new(), origin });
            }
        }
    }
    Err(InterpreterError::NotFound { beside: around.program.clone() })
}

/// A path as it stands, a name on PATH, or either with arguments.
fn find_asked(asked: &OsStr, around: &Surroundings) -> Result<Interpreter, InterpreterError> {
    let origin = "named by --python";
    if is_executable(Path::new(asked)) {
        return Ok(Interpreter { program: asked.into(), arguments: Vec::new(), origin });
    }
    let text = asked.to_string_lossy().into_owned();
    let mut words =
        shell_words::split(&text).map_err(|_| InterpreterError::Unbalanced(text.clone()))?.into_iter();
    let first = words.next().ok_or_else(|| InterpreterError::NotThere(text.clone()))?;
    let as_given = PathBuf::from(&first);
    let candidates = if first.contains('/') {
        vec![as_given]
    } else {
        around.path.iter().map(|folder| folder.join(&first)).collect()
    };
    candidates
        .into_iter()
        .find(|program| is_executable(program))
        .map(|program| Interpreter { program, arguments: words.collect(), origin })
        .ok_or(InterpreterError::NotThere(text))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, programs: &[&str]) -> Self {
            let root =
                std::env::temp_dir().join(format!("podicorn-interpreter-{name}-{}", std::process::id()));
            for program in programs {
                let path = root.join(program);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, "").unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
            Self(root)
        }

        fn around(&self) -> Surroundings {
            Surroundings {
                program: self.0.join("install/bin/podicorn"),
                virtual_env: Some(self.0.join("venv")),
                path: vec![self.0.join("empty"), self.0.join("path")],
            }
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_order_is_installation_then_virtualenv_then_path() {
        let programs = ["install/bin/python", "venv/bin/python3", "path/python3"];
        for (start, want) in programs.iter().enumerate() {
            let tree = Tree::new(&format!("order{start}"), &programs[start..]);
            let found = find(None, &tree.around()).unwrap();
            assert_eq!(found.program, tree.0.join(want));
        }
        let tree = Tree::new("none", &["install/bin/podicorn"]);
        assert!(matches!(find(None, &tree.around()), Err(InterpreterError::NotFound { .. })));
    }

    #[test]
    fn an_asked_interpreter_may_have_arguments_and_spaces() {
        let tree = Tree::new("asked", &["a b/python3", "path/python3.12"]);
        let spaced = tree.0.join("a b/python3");
        assert_eq!(find(Some(spaced.as_os_str()), &tree.around()).unwrap().program, spaced);
        let found = find(Some(OsStr::new("python3.12 -X dev -O")), &tree.around()).unwrap();
        assert_eq!(found.program, tree.0.join("path/python3.12"));
        assert_eq!(found.arguments, ["-X", "dev", "-O"]);
        for (wrong, unbalanced) in
            [("/no/such/python", false), ("python9", false), ("'python3", true), ("", false)]
        {
            match find(Some(OsStr::new(wrong)), &tree.around()) {
                Err(InterpreterError::Unbalanced(_)) => assert!(unbalanced, "{wrong}"),
                Err(InterpreterError::NotThere(_)) => assert!(!unbalanced, "{wrong}"),
                other => panic!("{wrong}: {other:?}"),
            }
        }
    }
}
