//! `reload`: has a running host read its files of settings again, and prints what it took and what not.

use serde_json::Value;

use super::{
    api::{self, Api},
    exit::{Exit, Failure},
    output::{Output, say},
};

/// The arguments of `reload`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    api: api::Args,
}

/// Reloads; exit 78 where something was refused.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let report = Api::new(&args.api)?.post("reload").await?;
    print(&report, args.api.output())
}

fn print(report: &Value, output: Output) -> Result<(), Failure> {
    let of = |part: &str| report[part].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let refused = of("refused");
    let end = if refused.is_empty() { Ok(()) } else { Err(Failure::silent(Exit::ConfigInvalid)) };
    if output.is_json() {
        output.object(report, false)?;
        return end;
    }
    let taken = of("taken");
    for words in &taken {
        output.line(&format!("taken: {words}"))?;
    }
    if taken.is_empty() {
        output.line("taken: nothing, since nothing has changed that counts without a restart")?;
    }
    for words in of("restart") {
        output.line(&format!("after a restart: {words}"))?;
    }
    for words in of("notes") {
        say(&format!("note: {words}"));
    }
    for words in &refused {
        say(&format!("refused, and what was before goes on: {words}"));
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_an_exit_code_of_its_own() {
        let end = |refused: Value| print(&serde_json::json!({ "taken": [], "refused": refused }), Output::new(false));
        assert!(end(serde_json::json!([])).is_ok());
        assert_eq!(end(serde_json::json!(["tenant.toml: found x"])).unwrap_err().exit, Exit::ConfigInvalid);
    }
}
