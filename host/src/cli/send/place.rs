//! Where deliveries are sent, and which secret signs them: what is named, or else this machine's host as its configuration tells.

use std::path::PathBuf;

use super::super::{
    api,
    check::print_problems,
    client::Target,
    environment,
    exit::{Exit, Failure},
    read_bounded,
};
use crate::{
    config,
    delivery::{SourceId, TenantId},
    signature::Secret,
    tenants::Directory,
};

/// The source where none is named: what `hookyard init` makes.
const SOURCE: &str = "github";

/// Where to and signed with what.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Where to, such as <http://127.0.0.1:8080/webhooks/github>; without it, this machine's host as its configuration tells
    #[arg(long)]
    url: Option<String>,
    /// An environment variable with the secret
    #[arg(long, value_name = "NAME", conflicts_with = "secret_file")]
    secret_env: Option<String>,
    /// A file with the secret
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Whose source, where no --url is given
    #[arg(long, default_value = "default", conflicts_with = "url")]
    tenant: TenantId,
    /// The host's configuration, where no --url is given
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
}

impl Args {
    /// The target and the secret.
    pub(super) fn find(&self) -> Result<(Target, Secret), Failure> {
        let named = self.named_secret()?;
        match (&self.url, named) {
            (Some(url), Some(secret)) => Ok((Target::parse(url)?, secret)),
            (Some(_), None) => Err(Failure::new(Exit::Usage, "--url is given, and no secret to sign with")
                .hint("add --secret-file FILE or --secret-env NAME; without --url, this machine's host is asked for both")),
            (None, named) => self.of_this_machine(named),
        }
    }

    /// Address and secret of a host that is configured here. A source's first secret is the one in use; others are on their way out.
    fn of_this_machine(&self, named: Option<Secret>) -> Result<(Target, Secret), Failure> {
        let env = environment();
        let hint = "name the host's --config, or give --url and --secret-file";
        let config = config::load(self.config.as_deref(), &env).map_err(|problems| {
            print_problems(&problems);
            Failure::new(Exit::ConfigInvalid, "the host's configuration does not tell where deliveries are taken").hint(hint)
        })?;
        if config.ingest.tls.is_some() {
            return Err(Failure::new(Exit::Usage, "the host takes deliveries over TLS, so the name in its certificate has to be given")
                .hint("give --url https://NAME/… and --secret-file"));
        }
        let address = config.ingest.listen.tcp().ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("the host takes deliveries at {}, and this command speaks to addresses only", config.ingest.listen),
            )
            .hint("give the --url of the proxy before it, and --secret-file")
        })?;
        let path = if self.tenant.as_str() == "default" { String::new() } else { format!("/t/{}", self.tenant) };
        let url = format!("http://{}{path}/webhooks/{SOURCE}", api::reachable(address));
        if let Some(secret) = named {
            return Ok((Target::parse(&url)?, secret));
        }
        let (directory, problems) = config::load_tenants(&config, &env, &Directory::default());
        let tenant = directory.tenants.get(&self.tenant);
        let source = SOURCE.parse::<SourceId>().ok().and_then(|source| tenant?.sources.get(&source));
        let secret = source.and_then(|source| source.secrets.first()).cloned().ok_or_else(|| {
            print_problems(&problems);
            let file = config.tenants_dir.join(self.tenant.as_str()).join("tenant.toml");
            Failure::new(Exit::NotFound, format!("{} gives no secret of [sources.{SOURCE}]", file.display())).hint(hint)
        })?;
        Ok((Target::parse(&url)?, secret))
    }

    fn named_secret(&self) -> Result<Option<Secret>, Failure> {
        let empty = || Failure::new(Exit::Failed, "the secret is empty");
        let bytes = match (&self.secret_env, &self.secret_file) {
            (Some(name), _) => environment()
                .remove(name)
                .ok_or_else(|| {
                    Failure::new(Exit::Failed, format!("the environment has no {name}")).hint("export it, or use --secret-file")
                })?
                .into_bytes(),
            (None, Some(file)) => return Secret::in_file(&read_bounded(file)?).map(Some).ok_or_else(empty),
            (None, None) => return Ok(None),
        };
        let secret = Secret::new(bytes).ok_or_else(empty)?;
        // As the host does, which would not know a signature made with it.
        match secret.surrounded_by() {
            None => Ok(Some(secret)),
            Some(around) => Err(Failure::new(Exit::Failed, format!("the variable with the secret has {around}")).hint(Secret::WITHOUT)),
        }
    }
}
