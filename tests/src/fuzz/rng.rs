//! Random numbers that are the same for the same seed, everywhere and for ever.

use netpath::random::SplitMix64;

/// What a mutation draws.
#[derive(Clone, Debug)]
pub struct Rng(SplitMix64);

impl Rng {
    /// The numbers of one stream of a seed: what an iteration draws does not depend on those before it.
    pub fn new(seed: u64, stream: u64) -> Self {
        // Mixed twice, so that neighbouring seeds and streams start at unrelated places of the sequence.
        let start = SplitMix64::new(seed).next().wrapping_add(stream);
        Self(SplitMix64::new(SplitMix64::new(start).next()))
    }

    /// The next number.
    #[expect(
        clippy::should_implement_trait,
        reason = "the sequence has no end, so an Option would mean nothing"
    )]
    pub fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.below(end)
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    /// True in so many cases of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several, of which there is at least one.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_and_seeds_differ() {
        let first = |seed, stream| Rng::new(seed, stream).next();
        assert_ne!(first(1, 0), first(1, 1));
        assert_ne!(first(1, 0), first(2, 0));
        assert_ne!(first(1, 1), first(2, 0));
        assert_eq!(first(7, 9), first(7, 9));
    }
}
