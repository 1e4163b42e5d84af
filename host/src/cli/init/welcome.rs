//! The plugin of a new folder. Its text is assembled when it is asked for, so that neither a compiler nor a binary in the repository is needed.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const TEXT: &str = include_str!("welcome.wat");
const CONTRACT: &str = include_str!("../../../../wit/plugin.wit");
const WORLD: &str = "webhook-handler";

/// The component.
pub(super) fn component() -> anyhow::Result<Vec<u8>> {
    let mut module = wat::parse_str(TEXT)?;
    let mut resolve = Resolve::default();
    let package = resolve.push_source("plugin.wit", CONTRACT)?;
    let world = resolve.select_world(&[package], Some(WORLD))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default().validate(true).module(&module)?.encode()
}
