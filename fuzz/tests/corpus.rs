//! What fuzzing found worth keeping, given to the same targets again.

use std::{fs, path::Path};

use fuzz::Target;

#[test]
fn every_kept_input_keeps_every_promise() {
    for target in Target::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        let inputs: Vec<_> = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).collect();
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        for input in inputs {
            target.run(&fs::read(input.unwrap().path()).unwrap());
        }
    }
}

#[test]
fn no_corpus_is_without_a_target() {
    for folder in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap() {
        let name = folder.unwrap().file_name();
        assert!(Target::named(name.to_str().unwrap()).is_some(), "{} is no target", name.display());
    }
}
