//! Unmodified programs over polypath, by seccomp user notification.
