//! The sessions of docs/troubleshooting.md run as they are printed: a lab is broken, one command finds the cause, its cure mends it.

use std::{fs, path::Path};

use netpath_tests::{
    lab::{BuiltinLab, builtin_left_behind},
    sessions::{Directory, play, sessions},
};

#[test]
fn each_broken_lab_is_explained_as_printed() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/troubleshooting.md");
    let text = fs::read_to_string(page).expect("docs/troubleshooting.md");
    let steps = sessions(&text, "runs in a broken lab");
    let _lab = BuiltinLab::take();
    play(&steps, &Directory::new("broken"));
    assert_eq!(builtin_left_behind(), [""; 0].map(std::path::PathBuf::from));
}
