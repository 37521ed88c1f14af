//! The connections of a worker, by number.
//!
//! A [`Token`] names a connection in epoll and in queues. Numbers are used again, so a token carries the number's
//! generation: an event for a connection that is gone finds nothing.

use nix::sys::epoll::EpollFlags;

use super::conn::Connection;

/// Index and generation of a connection; never 0 in its upper half, which is left to the reactor's own descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token(u64);

impl Token {
    fn new(generation: u32, index: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(index))
    }

    /// `None` for the numbers of the reactor's own descriptors.
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        (word >> 32 != 0).then_some(Self(word))
    }

    /// For epoll's user data.
    pub(crate) fn word(self) -> u64 {
        self.0
    }

    pub(crate) fn index(self) -> u32 {
        self.0 as u32
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

enum Place {
    Vacant,
    Here(Box<Connection>),
    /// Lent to a request that is running.
    Away,
}

struct Entry {
    generation: u32,
    place: Place,
    /// What epoll has said of the connection while it was away.
    missed: EpollFlags,
}

/// All connections.
#[derive(Default)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

impl Table {
    /// Connections present or lent out.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, connection: Box<Connection>) -> Token {
        let index = if let Some(index) = self.free.pop() {
            index
        } else {
            self.entries.push(Entry { generation: 0, place: Place::Vacant, missed: EpollFlags::empty() });
            (self.entries.len() - 1) as u32
        };
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.checked_add(1).unwrap_or(1);
        entry.place = Place::Here(connection);
        entry.missed = EpollFlags::empty();
        Token::new(entry.generation, index)
    }

    fn entry(&mut self, token: Token) -> Option<&mut Entry> {
        self.entries.get_mut(token.index() as usize).filter(|entry| entry.generation == token.generation())
    }

    pub(crate) fn get(&mut self, token: Token) -> Option<&mut Connection> {
        match self.entry(token)?.place {
            Place::Here(ref mut connection) => Some(connection),
            Place::Away | Place::Vacant => None,
        }
    }

    /// The token of whatever is at an index now.
    pub(crate) fn token_at(&self, index: u32) -> Option<Token> {
        let entry = self.entries.get(index as usize)?;
        (!matches!(entry.place, Place::Vacant)).then(|| Token::new(entry.generation, index))
    }

    /// Lends a connection out; its number stays taken until [`Self::put_back`] or [`Self::remove`].
    pub(crate) fn lend(&mut self, token: Token) -> Option<Box<Connection>> {
        let entry = self.entry(token)?;
        match std::mem::replace(&mut entry.place, Place::Away) {
            Place::Here(connection) => Some(connection),
            other => {
                entry.place = other;
                None
            }
        }
    }

    /// Remembers what epoll says of a connection that is away.
    pub(crate) fn miss(&mut self, token: Token, flags: EpollFlags) {
        if let Some(entry) = self.entry(token)
            && matches!(entry.place, Place::Away)
        {
            entry.missed |= flags;
        }
    }

    /// The opposite of [`Self::lend`]: what epoll has said meanwhile.
    pub(crate) fn put_back(&mut self, token: Token, connection: Box<Connection>) -> EpollFlags {
        let Some(entry) = self.entry(token) else { return EpollFlags::empty() };
        entry.place = Place::Here(connection);
        std::mem::replace(&mut entry.missed, EpollFlags::empty())
    }

    /// Forgets a connection, present or lent.
    pub(crate) fn remove(&mut self, token: Token) -> Option<Box<Connection>> {
        let entry = self.entry(token)?;
        let place = std::mem::replace(&mut entry.place, Place::Vacant);
        if !matches!(place, Place::Vacant) {
            self.free.push(token.index());
        }
        match place {
            Place::Here(connection) => Some(connection),
            Place::Away | Place::Vacant => None,
        }
    }

    /// Every token in use.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        (0..self.entries.len() as u32).filter_map(|index| self.token_at(index)).collect()
    }
}
