//! A scratch folder, a host on it, and the commands a user would type.

use std::{
    cell::RefCell,
    fs,
    io::Read as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::{SHOWN, github::GitHub, json_of, terminate, text};
use crate::say;

/// How long any one step may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The host and where it is.
pub(super) struct Desk {
    root: PathBuf,
    folder: PathBuf,
    ingest: u16,
    admin: u16,
    github: GitHub,
    host: RefCell<Child>,
}

impl Desk {
    /// Lays the folder out as an operator would and starts the host, on RabbitMQ where its URL is given.
    pub(super) fn open(root: &Path, rabbitmq: Option<&str>) -> anyhow::Result<Self> {
        let folder = root.join("target/demo");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let tenant = folder.join("tenants/default");
        fs::create_dir_all(tenant.join("plugins"))?;
        fs::write(tenant.join("secret"), random_hex()?)?;
        fs::write(folder.join("another-secret"), random_hex()?)?;
        fs::copy(tenant.join("secret"), folder.join("secret"))?;
        let token = random_hex()?;
        fs::write(tenant.join("token"), &token)?;
        let github = GitHub::start(&token)?;
        fs::write(tenant.join("tenant.toml"), tenant_toml(&github))?;
        for name in SHOWN {
            let built = root.join("target/plugins").join(name);
            fs::copy(built.with_extension("wasm"), tenant.join("plugins").join(name).with_extension("wasm"))?;
            let manifest = manifest(&github, &fs::read_to_string(built.with_extension("toml"))?);
            fs::write(tenant.join("plugins").join(name).with_extension("toml"), manifest)?;
        }
        let (ingest, admin) = (free_port()?, free_port()?);
        let broker = rabbitmq.map_or("", |_| "[broker]\nkind = \"rabbitmq\"\n[broker.rabbitmq]\nurl = { env = \"HOOKYARD_AMQP_URL\" }\n");
        let settings = format!(
            "[ingest]\nlisten = \"127.0.0.1:{ingest}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n[log]\nfilter = \"warn\"\n{broker}"
        );
        fs::write(folder.join("hookyard.toml"), settings)?;
        let mut serve = hookyard(root, &folder);
        serve.arg("serve").envs(rabbitmq.map(|url| ("HOOKYARD_AMQP_URL", url))).stdin(Stdio::null()).stdout(Stdio::null());
        let host = serve.spawn().context("the host does not start")?;
        Ok(Self { root: root.to_owned(), folder, ingest, admin, github, host: RefCell::new(host) })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/webhooks/github", self.ingest)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = hookyard(&self.root, &self.folder);
        let token = fs::read_to_string(self.folder.join("data/admin.token")).unwrap_or_default();
        command
            .args(arguments)
            .env("HOOKYARD_ADMIN_URL", format!("http://127.0.0.1:{}", self.admin))
            .env("HOOKYARD_ADMIN_TOKEN", token.trim());
        command
    }

    /// Sends one of the demo's documents, signed with a secret file, and gives what `hookyard send --json` says.
    pub(super) fn send(&self, event: &str, document: &str, delivery: Option<&str>, secret: &str) -> anyhow::Result<Value> {
        let payload = self.root.join("xtask/demo").join(document).with_extension("json");
        let url = self.url();
        let mut command = self.command(&["send", "--url", &url, "--source", "github", "--secret-file", secret, "--event", event, "--json"]);
        command.arg("--payload").arg(payload);
        if let Some(delivery) = delivery {
            command.args(["--delivery", delivery]);
        }
        json_of(&mut command)
    }

    /// Sends a document and waits until its one leg is in `state`; says how it went and gives the provider's id.
    pub(super) fn handled(&self, event: &str, document: &str, state: &str) -> anyhow::Result<String> {
        let sent = self.send(event, document, None, "secret")?;
        ensure!(sent["status"] == 202, "expected 202, found {sent}");
        let id = text(&sent["answer"], "delivery_id").to_owned();
        let view = self.until("the settlement", || {
            let view = json_of(&mut self.command(&["deliveries", "show", &id, "--json"]))?;
            Ok((view["status"] != "waiting").then_some(view))
        })?;
        let leg = &view["legs"][0];
        ensure!(
            view["legs"].as_array().is_some_and(|legs| legs.len() == 1) && leg["state"] == state,
            "expected one {state} leg, found {view}"
        );
        let attempt = &leg["history"][0];
        let event = view["action"].as_str().map_or_else(|| event.to_owned(), |action| format!("{event}.{action}"));
        say(&format!(
            "  202 {event:<20} {:<12} {:<5} attempt {} · fuel {} · {:.2} ms  {}",
            text(leg, "plugin"),
            text(leg, "outcome"),
            leg["attempts"],
            attempt["fuel"],
            attempt["duration_ms"].as_f64().unwrap_or_default(),
            leg["reason"].as_str().unwrap_or_default(),
        ));
        Ok(text(&sent, "provider_delivery_id").to_owned())
    }

    /// The stand-in for GitHub.
    pub(super) fn github(&self) -> &GitHub {
        &self.github
    }

    /// The version of a plugin that serves.
    pub(super) fn digest(&self, plugin: &str) -> anyhow::Result<Option<String>> {
        let page = json_of(&mut self.command(&["plugins", "list", "--json"]))?;
        let items = page["items"].as_array().context("a list of plugins")?;
        let found = items.iter().find(|item| item["name"] == plugin && item["status"] == "active");
        Ok(found.and_then(|item| item["digest"].as_str()).map(str::to_owned))
    }

    /// Waits until the host answers and all of these serve.
    pub(super) fn until_active(&self, plugins: &[&str]) -> anyhow::Result<()> {
        self.until("the plugins", || {
            // Until the host listens, its commands fail; that is what is waited for.
            let active = plugins.iter().all(|plugin| self.digest(plugin).is_ok_and(|digest| digest.is_some()));
            Ok(active.then_some(()))
        })
    }

    /// Changes the manifest of a plugin that serves, whole; the old words must be in it.
    pub(super) fn change_manifest(&self, name: &str, changes: &[(&str, &str)]) -> anyhow::Result<()> {
        let plugins = self.folder.join("tenants/default/plugins");
        let name = format!("{name}.toml");
        let mut manifest = fs::read_to_string(plugins.join(&name))?;
        for (old, new) in changes {
            ensure!(manifest.contains(old), "{name} does not say `{old}`, which this demo changes");
            manifest = manifest.replace(old, new);
        }
        let partial = plugins.join(format!(".{name}.partial"));
        fs::write(&partial, manifest)?;
        fs::rename(partial, plugins.join(name))?;
        Ok(())
    }

    /// Asks again and again until there is an answer, the host has ended or patience has.
    #[expect(clippy::disallowed_methods, reason = "a script has no clock of its own to move")]
    pub(super) fn until<T>(&self, what: &str, ask: impl Fn() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.host.borrow_mut().try_wait()? {
                bail!("the host has ended: {status}");
            }
            if let Some(answer) = ask()? {
                return Ok(answer);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{what} did not come within {PATIENCE:?}")
    }

    /// Lets the host drain, which must succeed.
    pub(super) fn close(&self) -> anyhow::Result<()> {
        let mut host = self.host.borrow_mut();
        terminate(host.id())?;
        let status = host.wait()?;
        ensure!(status.success(), "the host ended badly: {status}");
        say("The host has drained and ended.");
        Ok(())
    }

    /// Says how to look, and serves until it is interrupted.
    pub(super) fn keep_serving(&self) -> anyhow::Result<()> {
        let (folder, admin) = (self.folder.display(), self.admin);
        say(&format!(
            "\nThe host keeps serving; Ctrl-C ends it. Next, in another terminal:\n\n  \
             cd {folder}\n  alias hookyard={0}\n  \
             hookyard deliveries list\n  hookyard plugins show pr-size\n  \
             hookyard send --event pull_request --set /pull_request/additions=600 --set /repository/full_name=acme/shop\n\n\
             Then a host and a plugin of your own: README.md (Try it) and docs/author.md.\n\
             The admin API is at http://127.0.0.1:{admin}/api/v1/deliveries (bearer token in data/admin.token), metrics at /metrics.",
            self.root.join("target/debug/hookyard").display(),
        ));
        let status = self.host.borrow_mut().wait()?;
        ensure!(status.success(), "the host ended badly: {status}");
        Ok(())
    }
}

/// A step that failed leaves no host behind.
impl Drop for Desk {
    fn drop(&mut self) {
        let mut host = self.host.borrow_mut();
        let _ = host.kill();
        let _ = host.wait();
    }
}

fn hookyard(root: &Path, folder: &Path) -> Command {
    let mut command = Command::new(root.join("target/debug/hookyard"));
    command.current_dir(folder);
    command
}

/// What an operator writes, with the stand-in in the place of `api.github.com` and a token in that of an app.
fn tenant_toml(github: &GitHub) -> String {
    format!(
        "[sources.github]\nscheme = \"github\"\nsecrets = [{{ file = \"secret\" }}]\n\n\
         [credentials.github]\nkind = \"github-token\"\ntoken = {{ file = \"token\" }}\n\n\
         [[grants.http]]\nhost = \"{}\"\nmethods = [\"GET\", \"POST\", \"PATCH\", \"PUT\", \"DELETE\"]\n\
         path_prefix = \"/repos/acme/\"\ncredential = \"github\"\nallow_http = true\n\n\
         [egress]\nallow_addresses = [\"127.0.0.1/32\"]\n",
        github.address()
    )
}

/// The shipped manifest, with the stand-in in the place of `api.github.com`.
fn manifest(github: &GitHub, shipped: &str) -> String {
    let address = github.address().to_string();
    shipped
        .replacen("[config]\n", &format!("[config]\napi_url = \"http://{address}\"\n"), 1)
        .replace("\"api.github.com\"", &format!("\"{address}\""))
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn random_hex() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
