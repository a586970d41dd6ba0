//! Asking the loaded programs themselves what they would do with a packet, and what each of their stages finds. Nothing moves by
//! that: no counter, no connection, nothing of the decision cache.
//!
//! The programs hold the map `trail`, which is pinned nowhere. What is asked about carries a random key, and is recognised by its
//! entry in that map alone; so no packet of the wire can be taken for it, and several may ask at the same time.

use std::{io, time::Duration};

use aya::{
    maps::MapData,
    programs::{ProgramError, SchedClassifier},
};
use netpath_common::{
    TRAIL_SIGN, Trail, TrailKey,
    tables::{self, MapKind},
};

use super::{
    Datapath, ProgramKind, TestOutcome, TestPacket, clock,
    error::{DatapathError, and_then, map},
    raw::{Layout, RawMap},
    table::{bytes, value},
    test_run::{failed, run},
};
use crate::netns::Inside;

/// The map's name.
const NAME: &str = "trail";
/// An entry that is older was left by a process that was killed: a run takes microseconds.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// What a program would do with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What its stages found.
    pub trail: Trail,
    /// Its answer, and the packet as it would leave.
    pub outcome: TestOutcome,
}

impl Datapath {
    /// Asks the program that is pinned for an ingress what it would do with a packet. The packet's own `control` and `repeat` do not
    /// count. Interfaces are those of the namespace that the thread is inside.
    ///
    /// # Errors
    /// [`DatapathError::NoTrail`] for programs of another build; and as for [`Datapath::test_run`].
    pub fn ask(
        &self,
        _inside: &Inside<'_>,
        kind: ProgramKind,
        packet: &TestPacket,
    ) -> Result<Answer, DatapathError> {
        let path = self.pins.program(kind.name());
        let program = SchedClassifier::from_pin(path).map_err(failed(kind))?;
        let trails = self.trails(&program, kind)?;
        let key = random()?;
        self.begin(&trails, &key)?;
        let [a, b, c, d] = key.secret;
        let packet = TestPacket {
            control: [TRAIL_SIGN, a, b, c, d],
            repeat: 1,
            ..packet.clone()
        };
        let outcome = run(&program, kind, &packet);
        let answer = outcome.and_then(|outcome| {
            let found = trails.get(bytes(&key))?.map(|found| value(&found));
            let trail = found
                .filter(|trail: &Trail| trail.outcome != 0)
                .ok_or_else(|| self.no_trail())?;
            Ok(Answer { trail, outcome })
        });
        match (answer, trails.remove(bytes(&key))) {
            (answer, Ok(())) => answer,
            (Ok(_), Err(error)) => Err(error),
            (Err(cause), removed) => Err(and_then(cause, removed)),
        }
    }

    fn no_trail(&self) -> DatapathError {
        DatapathError::NoTrail {
            node: self.name.clone(),
        }
    }

    /// The map that a program of this build holds.
    fn trails(
        &self,
        program: &SchedClassifier,
        kind: ProgramKind,
    ) -> Result<RawMap, DatapathError> {
        let info = program.info().map_err(failed(kind))?;
        let wanted = Layout {
            kind: MapKind::Hash as u32,
            key_size: size_of::<TrailKey>(),
            value_size: size_of::<Trail>(),
            flags: tables::NO_PREALLOC,
        };
        for id in ids(&info).map_err(failed(kind))? {
            let data = MapData::from_id(id).map_err(map(NAME))?;
            if data.info().map_err(map(NAME))?.name_as_str() == Some(NAME) {
                let trails = RawMap::of(data, NAME)?;
                return match trails.layout == wanted {
                    true => Ok(trails),
                    false => Err(self.no_trail()),
                };
            }
        }
        Err(self.no_trail())
    }

    /// Makes the entry by which a packet is recognised.
    fn begin(&self, trails: &RawMap, key: &TrailKey) -> Result<(), DatapathError> {
        let begun = Trail {
            begun: clock::monotonic(),
            ..Trail::default()
        };
        match trails.set(bytes(key), bytes(&begun)) {
            Err(error) if is_full(&error) => {
                forget(trails, begun.begun)?;
                match trails.set(bytes(key), bytes(&begun)) {
                    Err(error) if is_full(&error) => Err(DatapathError::TrailBusy {
                        node: self.name.clone(),
                    }),
                    result => result,
                }
            }
            result => result,
        }
    }
}

/// The ids of a program's maps.
fn ids(info: &aya::programs::ProgramInfo) -> Result<Vec<u32>, ProgramError> {
    Ok(info.map_ids()?.unwrap_or_default())
}

/// Takes out what processes that were killed have left.
fn forget(trails: &RawMap, now: u64) -> Result<(), DatapathError> {
    let mut forgotten = Vec::new();
    trails.chunks(|keys, values| {
        let keys = keys.chunks_exact(size_of::<TrailKey>());
        let values = values.chunks_exact(size_of::<Trail>()).map(value::<Trail>);
        for (key, trail) in keys.zip(values) {
            if Duration::from_nanos(now.saturating_sub(trail.begun)) > FORGOTTEN {
                forgotten.extend_from_slice(key);
            }
        }
        Ok(())
    })?;
    trails.remove_many(&forgotten)
}

fn is_full(error: &DatapathError) -> bool {
    match error {
        DatapathError::Entry { source, .. } => source.raw_os_error() == Some(libc::E2BIG),
        _ => false,
    }
}

/// A key that nobody can guess.
fn random() -> Result<TrailKey, DatapathError> {
    let mut secret = [0u32; 4];
    // SAFETY: the buffer outlives the call and has the length stated.
    let got = unsafe { libc::getrandom(secret.as_mut_ptr().cast(), size_of_val(&secret), 0) };
    if got.cast_unsigned() == size_of_val(&secret) {
        return Ok(TrailKey { secret });
    }
    Err(DatapathError::Entry {
        map: NAME,
        action: "make a key for",
        source: io::Error::last_os_error(),
    })
}
