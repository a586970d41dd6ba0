//! What is told of a node, by `show`, by a dry run and by `up`.

use netpath::{finding::Finding, provision};

use super::Lab;

impl Lab {
    /// Findings as `id of object`, without the prefix, in order.
    pub fn findings<'f>(&self, findings: impl IntoIterator<Item = &'f Finding>) -> Vec<String> {
        let findings = findings.into_iter();
        let mut words: Vec<String> = findings
            .map(|it| format!("{} of {}", it.id, it.object).replace(&self.prefix, ""))
            .collect();
        words.sort();
        words
    }

    /// All that `show` says of a node, as [`Lab::findings`].
    pub fn shown(&self, node: &str) -> Vec<String> {
        self.findings(self.status(node).findings())
    }

    /// What is wrong is told by `show`, by a dry run and by `up`, in the same words, and none of them changes anything.
    pub fn assert_told(&self, node: &str, expected: &[&str]) {
        assert_eq!(self.shown(node), expected, "show");
        let options = Default::default();
        let planned = provision::plan_telling(self.topology(), &options).expect("plan");
        let raised = provision::up_telling(self.topology(), &options, &mut |_| {}).expect("up");
        for told in [planned, raised] {
            assert_eq!(
                (self.words(&told.changes), self.findings(&told.findings)),
                (vec![], expected.iter().map(|it| (*it).to_owned()).collect())
            );
        }
        assert_eq!(self.shown(node), expected, "show after up");
    }
}
