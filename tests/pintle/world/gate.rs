//! A gate in a deploy: a step that waits until the test lets it pass.

use super::{App, World};
use std::fs;
use std::path::{Path, PathBuf};

/// Closed until it is opened, for good.
pub struct Gate(PathBuf);

impl Gate {
    /// A closed gate in the directory of a world.
    pub fn closed(root: &Path) -> Gate {
        Gate(root.join("gate"))
    }
    /// The shell's words that wait for it.
    pub fn wait(&self) -> String {
        format!("while [ ! -e {} ]; do sleep 0.02; done", self.0.display())
    }
    /// Lets everybody pass.
    pub fn open(&self) {
        fs::write(&self.0, "").unwrap();
    }
}

impl World {
    /// The usual world, in which every build of the shop waits at a gate.
    pub fn of_a_gated_shop() -> (World, Gate) {
        let mut world = World::with([]);
        let gate = Gate::closed(&world.root);
        world.add(App::new("shop").step("build", "gate", &gate.wait()));
        (world.up(), gate)
    }
}
