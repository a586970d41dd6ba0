//! Nodes with room for few. A hash costs whoever reads it a walk over all that it has room for, and who makes it the memory: the
//! rooms that a node has by default are most of what a test's hundred commands would do. The tests of those rooms give their own.

/// Ends each line that is put into a topology here.
const MARK: &str = " # small";

/// What a node may have more of than any test that names nothing else.
const ROOMS: [(&str, u32); 2] = [("max_endpoints", 512), ("max_connections", 4096)];

/// A topology whose nodes have room for few, unless they say otherwise.
pub(super) fn made(text: &str) -> String {
    let text = as_given(text);
    let Some((head, nodes)) = text.split_once(NODE) else {
        return text;
    };
    let nodes = nodes.split(NODE).map(|node| {
        let rooms = ROOMS.iter().filter(|(key, _)| !node.contains(key));
        let rooms = rooms.map(|(key, entries)| format!("{key} = {entries}{MARK}\n"));
        format!("{NODE}{}{node}", rooms.collect::<String>())
    });
    format!("{head}{}", nodes.collect::<String>())
}

/// The header of a node, on a line of its own.
const NODE: &str = "[[node]]\n";

/// The topology as the test wrote it.
pub(super) fn as_given(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines
        .filter(|line| !line.trim_end().ends_with(MARK))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_otherwise_stays() {
        let given = "x = 1\n[[node]]\nname = \"a\"\nmax_endpoints = 7\n[[node]]\nname = \"b\"";
        let small = made(given);
        assert_eq!(
            small,
            "x = 1\n[[node]]\nmax_connections = 4096 # small\nname = \"a\"\nmax_endpoints = 7\n[[node]]\nmax_endpoints = 512 # \
             small\nmax_connections = 4096 # small\nname = \"b\""
        );
        assert_eq!(as_given(&small), given);
        assert_eq!(made(&small), small);
    }
}
