//! Refusals, and doing what they advise.

use std::process::Command;

use netpath::{Ends as _, netns::Netns, provision::ProvisionError};

use super::{Lab, assert_same_portrait, portrait};

/// The error of an `up` that is refused, with nothing touched.
pub fn refused(lab: &Lab) -> ProvisionError {
    let machine = Netns::current().expect("namespace");
    let before = (portrait(&machine), lab.leftovers());
    let error = lab.try_converge().expect_err("a refusal");
    assert!(error.is_refusal(), "{error:?}");
    assert_same_portrait(&portrait(&machine), &before.0, "refused");
    assert_eq!(lab.leftovers(), before.1);
    error
}

/// The commands that an error names.
pub fn commands(error: &str) -> Vec<String> {
    let commands = error.split('`').skip(1).step_by(2);
    let foreign = commands.filter(|command| !command.starts_with("netpath "));
    // Several addresses may be in one route's way.
    let mut once: Vec<String> = Vec::new();
    for command in foreign {
        if !once.iter().any(|known| known == command) {
            once.push(command.to_owned());
        }
    }
    once
}

/// Does what an error says, in another namespace than the node's: as somebody does who is logged in.
pub fn obey(lab: &Lab, error: &str) {
    let commands = commands(error);
    assert!(!commands.is_empty(), "no command in: {error}");
    for command in commands {
        let output = lab.inside("P", || {
            Command::new("sh")
                .args(["-c", &command])
                .output()
                .expect("start")
        });
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {stderr}");
    }
}
