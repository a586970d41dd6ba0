//! Which group what is in.
