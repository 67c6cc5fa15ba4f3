//! Multipath TCP in user space: streams, listeners, schedulers and congestion control to choose from.
