//! What the admin API of a pod says and takes.
