//! A filter's words, and where they stand.

/// A word of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub text: &'a str,
    /// In characters from the beginning.
    pub at: usize,
}

/// Takes a filter apart: at blanks, and around parentheses, `!`, `&&` and `||`.
pub(super) fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = text;
    let mut at = 0;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_whitespace() || "()!".contains(first) {
            first.len_utf8()
        } else if rest.starts_with("&&") || rest.starts_with("||") {
            2
        } else {
            let is_end = |it: char| it.is_whitespace() || "()!&|".contains(it);
            let next = rest.char_indices().skip(1).find(|(_, it)| is_end(*it));
            next.map_or(rest.len(), |(next, _)| next)
        };
        let (word, after) = rest.split_at(length);
        if !first.is_whitespace() {
            words.push(Word { text: word, at });
        }
        at += word.chars().count();
        rest = after;
    }
    words
}
