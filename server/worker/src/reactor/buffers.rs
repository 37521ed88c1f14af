//! Receive buffers, used again and again.
//!
//! A connection holds a large buffer only while it is being read; one that has to wait keeps an exact copy of what it has
//! received, so that thousands of stalled clients cost little more than their bytes.

/// How much one read asks for.
pub(crate) const READ_BYTES: usize = 64 * 1024;
/// How many idle buffers are kept.
const KEPT: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Buffers {
    idle: Vec<Vec<u8>>,
}

impl Buffers {
    /// Makes `buffer` a large one, with its content kept.
    pub(crate) fn enlarge(&mut self, buffer: &mut Vec<u8>) {
        if buffer.capacity() < READ_BYTES {
            let mut large = self.idle.pop().unwrap_or_else(|| Vec::with_capacity(READ_BYTES));
            large.extend_from_slice(buffer);
            *buffer = large;
        }
    }

    /// Makes `buffer` an exact one, with its content kept.
    pub(crate) fn shrink(&mut self, buffer: &mut Vec<u8>) {
        if buffer.capacity() >= READ_BYTES && buffer.len() < READ_BYTES / 2 {
            let exact = buffer.as_slice().to_vec();
            self.give(std::mem::replace(buffer, exact));
        }
    }

    /// Takes a buffer back.
    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        // One that has grown for a huge head is not worth keeping.
        if self.idle.len() < KEPT && (READ_BYTES..=4 * READ_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            self.idle.push(buffer);
        }
    }
}
