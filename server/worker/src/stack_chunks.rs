//! Memory for the Python frames of greenlets, used again and again.
//!
//! `CPython` (from 3.11) keeps the frames of a thread, and so of each greenlet, in chunks of 16 KiB. It gets them from the
//! arena allocator and gives them back when the greenlet ends: a mapping, a page fault and an unmapping for each request,
//! which is more than the rest of a small one costs. So the arena allocator is wrapped, and chunks of that size wait here
//! for the next greenlet.
#![allow(unsafe_code)] // CPython's allocator is a struct of C functions

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::Python;
use pyo3::ffi::{PyObject_GetArenaAllocator, PyObject_SetArenaAllocator, PyObjectArenaAllocator};

/// `DATA_STACK_CHUNK_SIZE` of `CPython`. Where it is another size, nothing is kept.
const CHUNK: usize = 16 * 1024;
/// How many are kept: 4 MiB. More greenlets at a time than that pay for their mappings.
const KEPT: usize = 256;

/// A chunk that nobody uses.
struct Chunk(NonNull<c_void>);

// SAFETY: the memory is nobody's but ours, and no thread is special to it.
unsafe impl Send for Chunk {}

struct Keeper {
    before: PyObjectArenaAllocator,
    chunks: Mutex<Vec<Chunk>>,
}

impl Keeper {
    /// The keeper that `allocator` was set up with.
    fn of<'a>(context: *mut c_void) -> &'a Self {
        // SAFETY: `keep` has leaked a `Keeper` and made it the context; nobody else calls the two functions below.
        unsafe { &*context.cast::<Self>() }
    }
}

extern "C" fn allocate(context: *mut c_void, size: usize) -> *mut c_void {
    let keeper = Keeper::of(context);
    // Never a wait: a lock that another thread held when the app forked stays locked in the child.
    if size == CHUNK
        && let Ok(mut chunks) = keeper.chunks.try_lock()
        && let Some(chunk) = chunks.pop()
    {
        return chunk.0.as_ptr();
    }
    keeper.before.alloc.map_or(std::ptr::null_mut(), |allocate| allocate(keeper.before.ctx, size))
}

extern "C" fn free(context: *mut c_void, memory: *mut c_void, size: usize) {
    let keeper = Keeper::of(context);
    if size == CHUNK
        && let Some(chunk) = NonNull::new(memory)
        && let Ok(mut chunks) = keeper.chunks.try_lock()
        && chunks.len() < KEPT
    {
        chunks.push(Chunk(chunk));
        return;
    }
    if let Some(free) = keeper.before.free {
        free(keeper.before.ctx, memory, size);
    }
}

/// Keeps chunks from now on, in this process and those forked from it.
pub(crate) fn keep(_py: Python<'_>) {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    let mut before = PyObjectArenaAllocator { ctx: std::ptr::null_mut(), alloc: None, free: None };
    // SAFETY: attached (`_py`); the call fills in the struct that it is given.
    unsafe { PyObject_GetArenaAllocator(&raw mut before) };
    // It is in use for as long as the interpreter is.
    let keeper = Box::leak(Box::new(Keeper { before, chunks: Mutex::new(Vec::with_capacity(KEPT)) }));
    let mut ours = PyObjectArenaAllocator {
        ctx: std::ptr::from_mut(keeper).cast(),
        alloc: Some(allocate),
        free: Some(free),
    };
    // SAFETY: attached; the call copies the struct. Memory of the allocator before is given back to it by `free`.
    unsafe { PyObject_SetArenaAllocator(&raw mut ours) };
}
