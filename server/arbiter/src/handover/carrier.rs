//! How the state gets from one program to the next: a sealed memfd, and an exec that leaves some descriptors open.
#![allow(unsafe_code)] // taking the variable out of the environment

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{HandoverError, State, VARIABLE};
use crate::{kernel, signals, title};

const SEALS: SealFlag = SealFlag::F_SEAL_SEAL
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE);

/// What the program before this one has handed over.
#[derive(Debug)]
pub struct Inheritance {
    pub(crate) state: State,
}

impl Inheritance {
    /// `None` where this program was started and has not taken another's place. Call it before there is a second thread.
    pub fn take() -> Result<Option<Self>, HandoverError> {
        let Some(value) = std::env::var_os(VARIABLE) else { return Ok(None) };
        // SAFETY: the process has one thread so far, by this function's contract, so nobody reads the environment meanwhile.
        unsafe { std::env::remove_var(VARIABLE) };
        let value = value.to_string_lossy().into_owned();
        let not_handed = |problem: String| HandoverError::NotHanded(value.clone(), problem);
        let number = value.parse().map_err(|_| not_handed("it is not a number".into()))?;
        let text = read(number).map_err(|error| not_handed(error.to_string()))?;
        Ok(Some(Self { state: State::read(&text)? }))
    }

    /// Signals that have waited come now: the handlers are there.
    pub fn hear_signals(&self) {
        signals::put_back(&self.state.signals);
        signals::let_through();
    }
}

/// Reads a state that this process was given by number.
pub(super) fn read(number: i32) -> std::io::Result<String> {
    let fd = kernel::take_inherited(number)?;
    let seals = fcntl(&fd, FcntlArg::F_GET_SEALS)?;
    if !SealFlag::from_bits_truncate(seals).contains(SEALS) {
        return Err(std::io::Error::other("its memory is not sealed"));
    }
    let mut file = File::from(fd);
    file.rewind()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// A state that nobody can change any more.
pub(crate) fn seal(state: &State) -> Result<OwnedFd, HandoverError> {
    let text = serde_json::to_vec(state)
        .map_err(|error| HandoverError::System { what: "cannot write the state", source: error.into() })?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = match memfd_create("podicorn-upgrade", flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL))
    {
        // Kernels before 6.3.
        Err(Errno::EINVAL) => memfd_create("podicorn-upgrade", flags),
        other => other,
    };
    let mut file = File::from(fd.map_err(HandoverError::system("cannot make a place for the state"))?);
    file.write_all(&text).map_err(HandoverError::system("cannot write the state"))?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS)).map_err(HandoverError::system("cannot seal the state"))?;
    Ok(file.into())
}

/// Takes the numbers of descriptors that the next program gets.
#[derive(Debug)]
pub(crate) struct Luggage {
    /// They stay open across the exec that follows.
    pub(crate) goes: bool,
}

impl Luggage {
    pub(crate) fn pack(&mut self, fd: impl AsFd) -> Result<i32, HandoverError> {
        let fd = fd.as_fd();
        if self.goes {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))
                .map_err(HandoverError::system("cannot keep a descriptor open"))?;
        }
        Ok(fd.as_raw_fd())
    }
}

/// Becomes the program, in the directory where this one was started, with its command line and environment.
pub(crate) fn execute(program: &Path, directory: &Path, state: &State) -> Result<Infallible, HandoverError> {
    let carrier = seal(state)?;
    let number = Luggage { goes: true }.pack(&carrier)?;
    let text = |text: OsString| {
        CString::new(text.into_vec()).map_err(|error| HandoverError::System {
            what: "cannot pass the command line on",
            source: error.into(),
        })
    };
    let path = text(program.into())?;
    let arguments = title::arguments().iter().cloned().map(text).collect::<Result<Vec<_>, _>>()?;
    let variables = std::env::vars_os().filter(|(name, _)| name != VARIABLE);
    let environment = variables.chain([(VARIABLE.into(), number.to_string().into())]).map(|(name, value)| {
        let mut pair = name;
        pair.push("=");
        pair.push(value);
        text(pair)
    });
    let environment = environment.collect::<Result<Vec<_>, _>>()?;
    std::env::set_current_dir(directory).map_err(HandoverError::system("cannot go back to the directory"))?;
    nix::unistd::execve(&path, &arguments, &environment)
        .map_err(HandoverError::system("cannot run the program"))
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;
    use crate::handover::state::tests::sample;

    #[test]
    fn a_sealed_state_is_read_back_and_nothing_else() {
        let state = State::read(&sample().to_string()).unwrap();
        let fd = seal(&state).unwrap();
        assert!(nix::unistd::write(&fd, b"more").is_err(), "it can still be changed");
        let text = read(fd.into_raw_fd()).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), sample());

        let open = memfd_create("open", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        assert!(read(open.into_raw_fd()).is_err(), "not sealed");
        let file = File::open("/dev/null").unwrap();
        assert!(read(file.into_raw_fd()).is_err(), "no memfd");
        assert!(read(-1).is_err());
    }

    #[test]
    fn only_what_is_packed_to_go_stays_open() {
        let (one, other) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let closes = |fd: &OwnedFd| {
            FdFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFD).unwrap()).contains(FdFlag::FD_CLOEXEC)
        };
        assert_eq!(Luggage { goes: false }.pack(&one).unwrap(), one.as_raw_fd());
        assert!(closes(&one));
        Luggage { goes: true }.pack(&other).unwrap();
        assert!(!closes(&other));
    }
}
