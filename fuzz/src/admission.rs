//! A component before it is compiled: what is admitted is a component with our handler, and needs no more than one run may have.

use hookyard::runtime::{AdmissionError, Runtime};

pub(crate) fn run(wasm: &[u8]) {
    let inspected = Runtime::inspect(wasm);
    match Runtime::check(wasm, &[]) {
        Ok(report) => {
            assert!(wasm.starts_with(b"\0asm"));
            assert_eq!(Ok(&report), inspected.as_ref());
            assert!(report.imports.iter().all(|import| import != "http" && import != "secrets"), "{report:?} was not granted");
        }
        Err(error) => {
            assert!(AdmissionError::SLUGS.contains(&error.code), "{error}");
            assert!(inspected.is_ok() || inspected == Err(error), "checked is inspected, and more");
        }
    }
}
