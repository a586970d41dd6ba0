//! What somebody destroys of a node.

mod maps;
mod namespace;
mod node;
mod told;

use proptest::{prelude::*, sample::Index};

use crate::reconcile::{RecordedUplink, World};

/// One thing that somebody destroys or alters: which kind, of which object.
#[derive(Clone, Debug)]
pub struct Damage {
    kind: u8,
    which: Index,
}

const KINDS: u8 = 44;

pub fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let damage = (0..KINDS, any::<Index>()).prop_map(|(kind, which)| Damage { kind, which });
    prop::collection::vec(damage, 0..6)
}

/// One of each kind, of some object.
pub fn each_damage() -> Vec<Damage> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut which = || {
        let tree = any::<Index>().new_tree(&mut runner).expect("an index");
        proptest::strategy::ValueTree::current(&tree)
    };
    (0..KINDS)
        .map(|kind| Damage {
            kind,
            which: which(),
        })
        .collect()
}

impl Damage {
    /// Whether somebody gives an interface another MAC.
    pub fn gives_another_mac(&self) -> bool {
        self.kind == 5
    }

    fn pick<T: Clone>(&self, items: impl IntoIterator<Item = T>) -> Option<T> {
        let items: Vec<T> = items.into_iter().collect();
        (!items.is_empty()).then(|| self.which.get(&items).clone())
    }

    /// Does it. What is not netpath's on a machine is left alone: that is no damage to mend.
    pub fn inflict(&self, world: &mut World) {
        match self.kind {
            0..=9 => self.inflict_on_namespace(world),
            10..=19 => self.inflict_on_maps(world),
            40..=43 => self.inflict_on_what_is_told(world),
            _ => self.inflict_on_node(world),
        }
    }

    /// One of the recorded uplinks.
    fn uplink<'w>(&self, world: &'w mut World) -> Option<&'w mut RecordedUplink> {
        let node = world.recorded.as_mut()?;
        let dev = self.pick(node.uplinks.keys().cloned())?;
        node.uplinks.get_mut(&dev)
    }
}
