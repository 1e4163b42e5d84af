//! What is fuzzed: every reader of bytes that somebody else wrote, each with what must hold of whatever it says.
//!
//! A target panics where its reader panics, and where its reader says something that is not so; the second finds more. libfuzzer drives the
//! targets (`cargo xtask fuzz`); the corpora of those runs are in `corpus/`, one folder a target, and a test replays them with every
//! `cargo test`, so that what was found once stays found.

mod admission;
mod envelope;
mod fields;
mod form;
mod manifest;
mod signature;

/// One reader under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and the name of its corpus.
    pub name: &'static str,
    run: fn(&[u8]),
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self { name: "signature", run: signature::run },
        Self { name: "form", run: form::run },
        Self { name: "fields", run: fields::run },
        Self { name: "envelope", run: envelope::run },
        Self { name: "manifest", run: manifest::run },
        Self { name: "admission", run: admission::run },
    ];

    /// The target of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name == name)
    }

    /// Gives the reader these bytes.
    ///
    /// # Panics
    ///
    /// Where a promise is broken.
    pub fn run(self, data: &[u8]) {
        (self.run)(data);
    }
}
