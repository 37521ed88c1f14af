//! What the allocator keeps.
#![allow(unsafe_code)] // mallopt has no safe wrapper

use std::env;

/// Free memory at the end of the heap beyond this goes back to the kernel.
const KEEP: i32 = 8 << 20;
/// Larger blocks are mappings of their own, which go back at once.
const LARGE: i32 = 4 << 20;

/// glibc gives the end of the heap back above 128 KiB and gets it again, page by page, with the next request; for an upload of
/// a megabyte that is half of what the upload costs. Who has set the allocator by its own variables is left alone.
pub(crate) fn keep_free_memory() {
    if env::vars_os()
        .any(|(name, _)| name == "GLIBC_TUNABLES" || name.to_string_lossy().starts_with("MALLOC_"))
    {
        return;
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers and changes thresholds only.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEEP);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
