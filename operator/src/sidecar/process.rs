//! The server's process: found by its name, and signalled.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::pods::Step;

/// As the kernel shows it.
const NAME: &str = "podicorn";

#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    #[error("cannot look for processes: {0}")]
    Processes(#[from] io::Error),
    #[error(
        "no process is called {NAME}: does the pod have shareProcessNamespace: true, and does the server run?"
    )]
    NotFound,
    #[error("several processes are called {NAME} ({}): say which one by --pid", list(.0))]
    Several(Vec<i32>),
    #[error("{0} is not the number of a process")]
    Number(u32),
    #[error("process {0} may not be signalled: run the sidecar as the server's user")]
    Forbidden(i32),
    #[error("process {pid} could not be signalled: {errno}")]
    Failed { pid: i32, errno: Errno },
}

/// Sends TTIN or TTOU to the process `pid`, or to that which is found in `proc`.
pub(super) fn signal(proc: &Path, pid: Option<u32>, step: Step) -> Result<(), SignalError> {
    let pid = match pid {
        Some(number) => {
            // Zero and negative numbers mean groups to kill(2).
            i32::try_from(number).ok().filter(|pid| *pid > 0).ok_or(SignalError::Number(number))?
        }
        None => find(proc)?,
    };
    let signal = match step {
        Step::Ttin => Signal::SIGTTIN,
        Step::Ttou => Signal::SIGTTOU,
    };
    kill(Pid::from_raw(pid), signal).map_err(|errno| match errno {
        Errno::EPERM => SignalError::Forbidden(pid),
        errno => SignalError::Failed { pid, errno },
    })
}

/// The one process of that name whose parent has another name: workers that have not changed theirs are its children.
pub(super) fn find(proc: &Path) -> Result<i32, SignalError> {
    let mut found: Vec<(i32, i32)> = Vec::new();
    for entry in fs::read_dir(proc)? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // Processes end while one looks at them.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some((name, parent)) = name_and_parent(&stat)
            && name == NAME
        {
            found.push((pid, parent));
        }
    }
    let pids: Vec<i32> = found.iter().map(|(pid, _)| *pid).collect();
    let mut roots: Vec<i32> =
        found.iter().filter(|(_, parent)| !pids.contains(parent)).map(|(pid, _)| *pid).collect();
    roots.sort_unstable();
    match roots[..] {
        [] => Err(SignalError::NotFound),
        [pid] => Ok(pid),
        _ => Err(SignalError::Several(roots)),
    }
}

/// `PID (NAME) STATE PPID …`, where the name may have brackets and spaces in it (proc(5)).
fn name_and_parent(stat: &str) -> Option<(&str, i32)> {
    let name = &stat[stat.find('(')? + 1..stat.rfind(')')?];
    let parent = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().nth(1)?;
    Some((name, parent.parse().ok()?))
}

fn list(pids: &[i32]) -> String {
    pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processes(list: &[(i32, &str, i32)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (pid, name, parent) in list {
            let directory = root.path().join(pid.to_string());
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("stat"), format!("{pid} ({name}) S {parent} 1 1 0 -1 4194560 0"))
                .unwrap();
        }
        fs::create_dir(root.path().join("sys")).unwrap();
        fs::create_dir(root.path().join("77")).unwrap();
        root
    }

    #[test]
    fn the_arbiter_is_the_one_whose_parent_is_another() {
        let root = processes(&[
            (1, "pause", 0),
            (7, "podicorn", 0),
            (9, "podicorn", 7),
            (12, "python3) S 7 (", 7),
            (20, "podicorn-operat", 0),
        ]);
        assert_eq!(find(root.path()).unwrap(), 7);
    }

    #[test]
    fn none_or_several_are_told_of() {
        let none = processes(&[(1, "pause", 0)]);
        assert!(matches!(find(none.path()), Err(SignalError::NotFound)));
        let several = processes(&[(8, "podicorn", 0), (7, "podicorn", 0)]);
        assert_eq!(
            find(several.path()).unwrap_err().to_string(),
            "several processes are called podicorn (7, 8): say which one by --pid"
        );
    }

    #[test]
    fn a_number_that_would_mean_a_group_is_refused() {
        for number in [0, u32::MAX] {
            let result = signal(Path::new("/proc"), Some(number), Step::Ttin);
            assert!(matches!(result, Err(SignalError::Number(_))), "{result:?}");
        }
    }
}
