//! The compile child: `hookyard compile`. It reads what to do and a component from standard input, closes itself up, compiles, writes the
//! code to standard output, and ends.
//!
//! A component comes from a stranger, and the compiler is a large program that it drives. So before the compiler sees a byte of it, the child
//! lowers its limits and becomes a cell (`confine`): three pipes, memory that cannot be executed, threads. It knows no variable of the
//! environment, and ends when the host does.

use std::io::{self, BufRead, Read as _, Write};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, nice, setrlimit};
use wasmtime::Engine;

use crate::{confine, runtime::engine::code_config};

/// Bytes of the line that goes ahead of the component.
const HEAD_BYTES_MAX: u64 = 1024;
/// Deliveries go before deploys.
const NICER: i32 = 5;
/// Seconds between the limit of processor time and its hard end.
const CPU_GRACE_S: u64 = 5;

/// What the child is given ahead of the component, as one line of JSON.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Task {
    pub(super) memory_bytes: u64,
    pub(super) cpu_s: u64,
    /// How long the component is.
    pub(super) component_bytes: u64,
}

/// The body of `hookyard compile`.
///
/// # Errors
/// What is on standard input is no task, or the component does not compile.
pub fn compile_child() -> anyhow::Result<()> {
    in_cell(&mut io::stdout().lock(), || Ok(()))
}

/// The same, with something to do once the cell is closed, and the code written to `out`.
pub(in crate::runtime) fn in_cell(out: &mut dyn Write, first: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let (task, wasm) = read(&mut io::stdin().lock())?;
    lower_limits(&task)?;
    // What this kernel does not have, the host has said at its start.
    let _missing = confine::cell();
    end_with_host()?;
    first()?;
    let engine = Engine::new(&code_config())?;
    let code = engine.precompile_component(&wasm)?;
    out.write_all(&code).and_then(|()| out.flush()).context("the code cannot be handed over")
}

fn read(input: &mut dyn BufRead) -> anyhow::Result<(Task, Vec<u8>)> {
    let mut line = Vec::new();
    input.take(HEAD_BYTES_MAX).read_until(b'\n', &mut line).context("standard input cannot be read")?;
    anyhow::ensure!(line.pop() == Some(b'\n'), "standard input does not begin with a line of at most {HEAD_BYTES_MAX} bytes");
    let task: Task = serde_json::from_slice(&line).context("the first line on standard input is no task of a compiler")?;
    let mut wasm = Vec::new();
    input.take(task.component_bytes).read_to_end(&mut wasm).context("the component cannot be read")?;
    anyhow::ensure!(wasm.len() as u64 == task.component_bytes, "the component ends after {} of {} bytes", wasm.len(), task.component_bytes);
    Ok((task, wasm))
}

fn lower_limits(task: &Task) -> anyhow::Result<()> {
    let limit = |current: u64, maximum: u64| Rlimit { current: Some(current), maximum: Some(maximum) };
    setrlimit(Resource::Core, limit(0, 0)).context("RLIMIT_CORE")?;
    setrlimit(Resource::As, limit(task.memory_bytes, task.memory_bytes)).context("RLIMIT_AS")?;
    // Two numbers: at the first it is ended by SIGXCPU, which tells this limit from an operator's or the kernel's SIGKILL.
    setrlimit(Resource::Cpu, limit(task.cpu_s, task.cpu_s.saturating_add(CPU_GRACE_S))).context("RLIMIT_CPU")?;
    // Where it is as low as it goes already, it stays there.
    let _ = nice(NICER);
    Ok(())
}

/// The host holds the other end of standard input until it has what it wants; when that is closed, nobody waits for the code any more.
fn end_with_host() -> anyhow::Result<()> {
    let watch = || {
        let mut rest = [0; 64];
        while io::stdin().read(&mut rest).is_ok_and(|read| read > 0) {}
        std::process::exit(1);
    };
    std::thread::Builder::new().name("host-watch".to_owned()).spawn(watch).map(drop).context("no thread to watch the host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_that_is_cut_off_and_a_line_that_is_none_are_refused() {
        let head = br#"{"memory_bytes":1073741824,"cpu_s":1,"component_bytes":4}"#;
        let whole = [&head[..], b"\n12345"].concat();
        assert_eq!(read(&mut &whole[..]).unwrap().1, b"1234", "what follows is not the component's");
        let error = read(&mut &whole[..whole.len() - 2]).unwrap_err();
        assert!(error.to_string().contains("ends after 3 of 4 bytes"), "{error}");
        assert!(read(&mut &whole[..20]).unwrap_err().to_string().contains("does not begin with a line"));
    }
}
