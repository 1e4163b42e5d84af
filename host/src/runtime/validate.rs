//! `validate-config`: what a plugin itself says of the configuration it is given, asked before it serves.
//!
//! WIT has no optional exports, so the function stands outside the worlds and is looked for when a component is admitted. It is called like a
//! run, armed with the same three bounds in a fresh store, and behind a gate that leads nowhere.

use wasmtime::{
    Engine, Result,
    component::{Component as Compiled, ComponentExportIndex},
};

use super::{
    Component, Run,
    fault::{deadline_exceeded, fault_of},
    invoke::{Allowance, armed_store},
    state::State,
};

/// The interface, without the last part of its version.
pub(super) const LIFECYCLE: &str = "hookyard:plugin/lifecycle@0.1.";
/// Bytes of a plugin's objections that are told.
const OBJECTIONS_BYTES_MAX: usize = 4096;
/// Objections that are told.
const OBJECTIONS_MAX: usize = 32;

/// Where a component has `validate-config`, if it does.
pub(super) fn find(engine: &Engine, compiled: &Compiled) -> Option<ComponentExportIndex> {
    let ty = compiled.component_type();
    let name = ty.exports(engine).map(|(name, _)| name.to_owned()).find(|name| name.starts_with(LIFECYCLE))?;
    let interface = compiled.get_export_index(None, &name)?;
    compiled.get_export_index(Some(&interface), "validate-config")
}

/// Asks the plugin; the error is what it objects to, or what befell the call.
pub(super) async fn validate(engine: &Engine, component: &Component, run: &Run, taken_bytes: u64) -> std::result::Result<(), String> {
    let Some(function) = component.validate() else { return Ok(()) };
    let allowance = Allowance::of(run, taken_bytes);
    let mut store =
        armed_store(engine, State::of(run, &allowance), &allowance).map_err(|error| format!("it could not be asked: {error:#}"))?;
    let asked = async {
        let instance = component.pre().instance_pre().instantiate_async(&mut store).await?;
        let function = instance.get_typed_func::<(), (std::result::Result<(), Vec<String>>,)>(&mut store, function)?;
        let (answer,) = function.call_async(&mut store, ()).await?;
        Result::<_>::Ok(answer)
    };
    match tokio::time::timeout(allowance.wall, asked).await {
        Ok(Ok(answer)) => answer.map_err(|objections| told(&objections)),
        Ok(Err(error)) => Err(format!("`validate-config` did not come to its end: {}", fault_of(&error, store.data()))),
        Err(_) => Err(format!("`validate-config` did not come to its end: {}", deadline_exceeded())),
    }
}

/// The objections as lines, cut to the bound.
fn told(objections: &[String]) -> String {
    if objections.is_empty() {
        return "it objects without a word".to_owned();
    }
    let mut lines = objections.iter().take(OBJECTIONS_MAX).map(|line| line.trim()).collect::<Vec<_>>().join("\n");
    if lines.len() > OBJECTIONS_BYTES_MAX {
        lines.truncate((0..=OBJECTIONS_BYTES_MAX).rev().find(|&at| lines.is_char_boundary(at)).unwrap_or(0));
        lines.push('…');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objections_are_told_as_lines_and_bounded() {
        assert_eq!(told(&["a ".to_owned(), " b".to_owned()]), "a\nb");
        assert!(told(&[]).contains("without a word"));
        let flood = told(&vec!["ä".repeat(5000); 100]);
        assert!(flood.len() <= OBJECTIONS_BYTES_MAX + '…'.len_utf8() && flood.ends_with('…'));
        assert_eq!(told(&vec!["x".to_owned(); 100]).lines().count(), OBJECTIONS_MAX);
    }
}
