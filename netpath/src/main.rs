//! The `netpath` command.
fn main() {}
