//! Programs of other languages: found, run, and their words passed on.

use std::{path::PathBuf, process::Stdio};

use tokio::process::Command;

use super::super::{
    exit::{Exit, Failure},
    output::say,
    progress::Progress,
};

/// A program of the path.
pub(super) fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Runs it to its end; what it says is shown only where it fails, because then it says why. Dropping the future ends it.
pub(super) async fn run(command: &mut Command) -> Result<(), Failure> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let progress = Progress::waiting(format!("{} is at work", program.rsplit('/').next().unwrap_or(&program)));
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|error| Failure::new(Exit::Failed, format!("{program} does not start: {error}")))?;
    drop(progress);
    if output.status.success() {
        return Ok(());
    }
    for bytes in [output.stdout, output.stderr] {
        String::from_utf8_lossy(&bytes).lines().for_each(say);
    }
    Err(Failure::new(Exit::Failed, format!("{program} failed ({}); it said why", output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_fails_or_does_not_start_is_named() {
        assert_eq!(run(&mut Command::new("true")).await, Ok(()));
        assert!(run(&mut Command::new("false")).await.unwrap_err().message.contains("false failed"));
        assert!(run(&mut Command::new("/no/such/program")).await.unwrap_err().message.contains("does not start"));
        assert!(in_path("sh").is_some() && in_path("no such program").is_none());
    }
}
