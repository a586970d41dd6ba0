//! netpath's development tasks.
fn main() {}
