//! What a machine says on its second serial port, one line per event.
//!
//! | line | says |
//! |---|---|
//! | `booted RELEASE` | the kernel is up, and which it is |
//! | `attached MODE` | netpath has brought up its built-in lab: how its programs hang on the interfaces |
//! | `start SUITE` | a suite starts |
//! | `test ...` | a line of libtest, as it comes |
//! | `end SUITE STATUS` | its exit status |
//! | `complete` | all have run |
//! | `broken: WHAT` | the machine gives up |

use anyhow::{Context, Result, bail};

use crate::test_programs::Counts;

/// An event.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Booted {
        release: String,
    },
    Attached {
        mode: String,
    },
    Start {
        suite: String,
    },
    /// A test has ended: with `ok`, `FAILED`, `ignored`.
    Ended {
        test: String,
        how: String,
    },
    /// A test has run for a minute, and goes on.
    Slow {
        test: String,
    },
    Counted(Counts),
    End {
        suite: String,
        status: i32,
    },
    Complete,
    Broken {
        what: String,
    },
    /// Of no interest.
    Other,
}

impl Event {
    /// Reads a line.
    pub fn parse(line: &str) -> Result<Self> {
        let line = line.trim_end();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest_of = || rest.to_owned();
        Ok(match word {
            "booted" => Self::Booted { release: rest_of() },
            "attached" => Self::Attached { mode: rest_of() },
            "start" => Self::Start { suite: rest_of() },
            "test" => Self::parse_libtest(rest)?,
            "end" => {
                let (suite, status) = rest.split_once(' ').context("no status")?;
                Self::End {
                    suite: suite.to_owned(),
                    status: status.parse().context(line.to_owned())?,
                }
            }
            "complete" => Self::Complete,
            "broken:" => Self::Broken { what: rest_of() },
            _ => bail!("the machine says {line:?}"),
        })
    }

    /// `result: ok. 12 passed; 0 failed; ...`, `NAME ... HOW` or `NAME has been running for over 60 seconds`.
    fn parse_libtest(rest: &str) -> Result<Self> {
        if let Some(result) = rest.strip_prefix("result: ") {
            return Ok(Self::Counted(Counts::parse(result)?));
        }
        if let Some((test, _)) = rest.split_once(" has been running for over ") {
            let test = test.to_owned();
            return Ok(Self::Slow { test });
        }
        Ok(match rest.split_once(" ... ") {
            Some((test, how)) => Self::Ended {
                test: test.to_owned(),
                how: how.to_owned(),
            },
            None => Self::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Counts, Event};

    #[test]
    fn lines_are_read() {
        fn read(line: &str) -> Event {
            Event::parse(line).expect(line)
        }
        assert_eq!(
            read("end lab_paths 101\r"),
            Event::End {
                suite: "lab_paths".to_owned(),
                status: 101
            }
        );
        assert_eq!(
            read(
                "test result: FAILED. 11 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 3.10s"
            ),
            Event::Counted(Counts {
                passed: 11,
                failed: 2
            })
        );
        for how in ["ok", "FAILED"] {
            let line = format!("test redirect::peer ... {how}");
            assert_eq!(
                read(&line),
                Event::Ended {
                    test: "redirect::peer".to_owned(),
                    how: how.to_owned(),
                }
            );
        }
        assert_eq!(
            read("test redirect::peer has been running for over 60 seconds"),
            Event::Slow {
                test: "redirect::peer".to_owned()
            }
        );
        assert_eq!(read("test of something else"), Event::Other);
        assert_eq!(read("complete"), Event::Complete);
        assert!(Event::parse("end lab_paths").is_err());
        assert!(Event::parse("what").is_err());
    }
}
