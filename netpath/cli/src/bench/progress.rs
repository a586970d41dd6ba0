//! One line on a terminal's stderr that tells how far a run is and how long it still takes.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use netpath_bench::Progress;

/// Columns of the bar.
const WIDTH: usize = 24;
/// Between two drawings: to draw takes time on the processors that are measured.
const APART: Duration = Duration::from_millis(500);

/// The line; nothing where stderr is no terminal.
pub(super) struct Line {
    terminal: bool,
    began: Instant,
    drawn: Option<Instant>,
}

impl Line {
    pub fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            began: Instant::now(),
            drawn: None,
        }
    }

    /// Draws it anew, if it is time.
    pub fn show(&mut self, progress: Progress) {
        let due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= APART);
        if self.terminal && due {
            write(&format!("\r\x1b[K{}", text(progress, self.began.elapsed())));
            self.drawn = Some(Instant::now());
        }
    }

    /// Takes it away.
    pub fn clear(&mut self) {
        if self.drawn.take().is_some() {
            write("\r\x1b[K");
        }
    }
}

fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    // Without a stderr there is nobody to tell.
    let _closed = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}

fn text(progress: Progress, elapsed: Duration) -> String {
    let Progress { done, of, next } = progress;
    let full = WIDTH * done / of.max(1);
    let bar = format!("{}{}", "#".repeat(full), "-".repeat(WIDTH - full));
    let left = match u32::try_from(done) {
        Ok(done @ 1..) => {
            let left = elapsed.mul_f64((of - done as usize) as f64 / f64::from(done));
            format!("{} s left", left.as_secs() + 1)
        }
        _ => "making the lab".to_owned(),
    };
    let next = next.map_or_else(String::new, |(round, visit)| {
        format!(
            "  round {}: {}, {}, {}, {}",
            round + 1,
            visit.reach,
            visit.family,
            visit.measure,
            visit.path
        )
    });
    format!("[{bar}] {:3} %  {left}{next}", 100 * done / of.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_in_proportion() {
        let progress = Progress {
            done: 25,
            of: 100,
            next: None,
        };
        let text = text(progress, Duration::from_secs(10));
        assert_eq!(text, "[######------------------]  25 %  31 s left");
    }

    #[test]
    fn nothing_is_promised_before_the_first_cell() {
        let progress = Progress {
            done: 0,
            of: 0,
            next: None,
        };
        let text = text(progress, Duration::ZERO);
        assert!(text.contains("making the lab"), "{text}");
    }
}
