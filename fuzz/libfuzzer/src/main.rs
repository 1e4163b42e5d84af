//! `fuzz::Target` under libFuzzer, named by `HOOKYARD_FUZZ_TARGET`.

#![no_main]

use std::sync::LazyLock;

use fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("HOOKYARD_FUZZ_TARGET").unwrap_or_default();
    Target::named(&name).unwrap_or_else(|| panic!("HOOKYARD_FUZZ_TARGET is `{name}`; expected one of {:?}", Target::ALL))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET.run(data));
