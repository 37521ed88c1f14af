//! Child processes that never outlive the test: the kernel kills them when the test's process ends, however it ends.
//!
//! The kernel binds that to the *thread* that started the child, so one thread that lives as long as the process starts
//! them all.
#![allow(unsafe_code)] // pre_exec runs between fork and exec

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::BedError;

type Job = Box<dyn FnOnce() + Send>;

/// How a program is started.
#[derive(Debug, Clone)]
pub struct Start {
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// The whole environment where given, else the test's own.
    pub environment: Option<Vec<(OsString, OsString)>>,
    pub directory: Option<PathBuf>,
    /// Output is added to this file.
    pub log: PathBuf,
}

impl Start {
    pub fn new(name: &str, program: &Path, log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: None,
            directory: None,
            log,
        }
    }

    #[must_use]
    pub fn arguments<I: IntoIterator<Item = A>, A: Into<OsString>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        // SAFETY: prctl(2) is a bare system call; it neither allocates nor takes a lock.
        unsafe {
            command.pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from));
        }
        command.spawn()
    }
}

/// A running child; dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    pid: Pid,
    child: Mutex<Child>,
}

impl Process {
    pub fn start(start: Start) -> Result<Self, BedError> {
        let (name, log) = (start.name.clone(), start.log.clone());
        let (answer, spawned) = mpsc::channel();
        let lost = |_| BedError::Unexpected("the thread that starts processes has ended".to_owned());
        starter()
            .send(Box::new(move || drop(answer.send(start.spawn()))))
            .map_err(|_| BedError::Unexpected("the thread that starts processes has ended".to_owned()))?;
        let child = spawned.recv().map_err(lost)?.map_err(BedError::io(format!("starting {name}")))?;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        Ok(Self { name, log, pid, child: Mutex::new(child) })
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    pub fn log(&self) -> String {
        read_log(&self.log)
    }

    /// None while it runs.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().ok()?.try_wait().ok()?
    }

    /// Sends a signal, unless the process has ended: then its id may be another's.
    pub fn signal(&self, signal: Signal) {
        if self.ended().is_none() {
            // It may end in between; then there is nobody to tell.
            let _ = kill(self.pid, signal);
        }
    }

    /// Waits for the end; None if it has not come in time.
    pub async fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// TERM, and KILL where that is not enough.
    pub async fn stop(&self, grace: Duration) -> Option<ExitStatus> {
        self.signal(Signal::SIGTERM);
        if let Some(status) = self.wait(grace).await {
            return Some(status);
        }
        self.kill().await
    }

    pub async fn kill(&self) -> Option<ExitStatus> {
        self.signal(Signal::SIGKILL);
        self.wait(Duration::from_secs(10)).await
    }

    /// An error that shows the log, if it has ended.
    pub fn check(&self) -> Result<(), BedError> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(BedError::Ended {
                name: self.name.clone(),
                status: status.to_string(),
                log: tail(&self.log(), 40),
            }),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(mut child) = self.child.lock() {
            // Both fail only where it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn read_log(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The last lines.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn starter() -> &'static mpsc::Sender<Job> {
    static STARTER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    STARTER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::spawn(move || jobs.into_iter().for_each(|job| job()));
        sender
    })
}
