//! A shipped plugin in a whole host, whose tenant has a GitHub and a chat of the test's own.

use std::{fs, path::Path, time::Duration};

use hookyard::{
    clock::Clock,
    delivery::{DeliveryId, LegState, view::LegView},
};
use serde_json::Value;

use crate::{
    folder::{Folder, Layout, write},
    github::{CHAT_PATH, GitHub, Repository, TOKEN},
    host::TestHost,
    payloads::target_dir,
    sender::Post,
};

/// A key nobody else has any use for.
const APP_KEY: &[u8] = include_bytes!("../fixtures/github-app.pem");

/// A host with one shipped plugin, and the GitHub it talks to.
#[derive(Debug)]
pub struct Stage {
    /// GitHub, and the chat.
    pub github: GitHub,
    /// The host.
    pub host: TestHost,
    plugin: String,
}

/// What is laid out before the host starts.
#[derive(Clone, Debug)]
pub struct Scene<'a> {
    plugin: &'a str,
    edits: Vec<(&'a str, &'a str)>,
    token: &'a str,
    installation: Option<u64>,
    clock: Clock,
}

impl<'a> Scene<'a> {
    /// The plugin with its own manifest.
    pub fn of(plugin: &'a str) -> Self {
        Self { plugin, edits: Vec::new(), token: TOKEN, installation: None, clock: Clock::system() }
    }

    /// With other words in its manifest; the old ones must be there.
    #[must_use]
    pub fn edit(mut self, old: &'a str, new: &'a str) -> Self {
        self.edits.push((old, new));
        self
    }

    /// With another token than GitHub wants.
    #[must_use]
    pub fn token(mut self, token: &'a str) -> Self {
        self.token = token;
        self
    }

    /// With a GitHub App that is installed under this id, instead of a token.
    #[must_use]
    pub fn app(mut self, installation: u64) -> Self {
        self.installation = Some(installation);
        self
    }

    /// Under a clock that the test moves.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Starts it; `None`, and a word about it, where the plugins were not built.
    pub async fn set(self, lay: impl FnOnce(&mut Repository)) -> Option<Stage> {
        let wasm = component(self.plugin)?;
        let github = GitHub::start().await;
        lay(&mut github.repository());
        let manifest = self.manifest(&github);
        let plugins = [(("default".to_owned(), self.plugin.to_owned()), (wasm, manifest))].into();
        let folder = Folder::lay(&Layout { tenant_toml: self.tenant_toml(&github), plugins, ..Layout::default() });
        let secrets = folder.path().join("tenants/default/secrets");
        write(&secrets.join("token"), self.token.as_bytes());
        write(&secrets.join("app.pem"), APP_KEY);
        write(&secrets.join("chat"), format!("{}{CHAT_PATH}", github.url()).as_bytes());
        let host = TestHost::start_on(folder, self.clock).await;
        Some(Stage { github, host, plugin: self.plugin.to_owned() })
    }

    fn tenant_toml(&self, github: &GitHub) -> String {
        let (url, address) = (github.url(), github.address());
        let credential = match self.installation {
            None => "kind = \"github-token\"\ntoken = { file = \"secrets/token\" }".to_owned(),
            Some(id) => format!(
                "kind = \"github-app\"\napp_id = 12345\nprivate_key = {{ file = \"secrets/app.pem\" }}\ninstallations = [{id}]\napi_url = \"{url}\""
            ),
        };
        format!(
            r#"
[credentials.github]
{credential}
[credentials.slack]
kind = "url"
url = {{ file = "secrets/chat" }}
[[grants.http]]
host = "{address}"
methods = ["GET", "POST", "PATCH", "PUT", "DELETE"]
path_prefix = "/repos/"
credential = "github"
allow_http = true
[[grants.http]]
methods = ["POST"]
credential = "slack"
allow_http = true
[egress]
allow_addresses = ["127.0.0.1/32"]
"#
        )
    }

    fn manifest(&self, github: &GitHub) -> String {
        let mut manifest = read(self.plugin, &format!("{}.toml", self.plugin));
        for (old, new) in &self.edits {
            assert!(manifest.contains(old), "the manifest of {} does not say `{old}`", self.plugin);
            manifest = manifest.replace(old, new);
        }
        if manifest.contains("api.github.com") {
            let mut table: toml::Table = manifest.parse().expect("the manifest is TOML");
            let config = table.get_mut("config").and_then(toml::Value::as_table_mut).expect("a [config] table");
            config.insert("api_url".to_owned(), github.url().into());
            manifest = table.to_string().replace("api.github.com", &github.address().to_string());
        }
        manifest
    }
}

impl Stage {
    /// Delivers a document and gives the plugin's leg once it is settled.
    pub async fn deliver(&self, event: &str, document: &Value) -> LegView {
        let id = self.send(event, document).await;
        self.settled(id).await
    }

    /// Delivers a document and does not wait.
    pub async fn send(&self, event: &str, document: &Value) -> DeliveryId {
        self.host.sender().post(event, document.to_string()).await.accepted()
    }

    /// The plugin's leg, once it is settled.
    pub async fn settled(&self, id: DeliveryId) -> LegView {
        let view = self.host.settled(id).await;
        view.legs.into_iter().next().unwrap_or_else(|| panic!("{} is subscribed to it", self.plugin))
    }

    /// The plugin's leg, once it waits for its next attempt.
    pub async fn retrying(&self, id: DeliveryId) -> LegView {
        self.host
            .until("a retry", || async {
                let leg = self.host.leg(id, &self.plugin).await;
                assert!(leg.state.is_open(), "it ended instead: {leg:?}");
                (leg.state == LegState::Retry).then_some(leg)
            })
            .await
    }

    /// Lets the time of the next attempt come, and gives the leg once it is settled.
    pub async fn retried(&self, id: DeliveryId, wait: Duration) -> LegView {
        self.host.let_time_pass(wait);
        self.settled(id).await
    }

    /// Delivers the same thing twice, as two deliveries with ids of their own, and checks that the second changes nothing.
    pub async fn deliver_twice(&self, event: &str, document: &Value) -> LegView {
        let first = self.deliver(event, document).await;
        let (repository, notices) = (self.github.repository().clone(), self.github.notices());
        let again = Post::json(event, document.to_string());
        let id = self.host.sender().send(again).await.accepted();
        let second = self.settled(id).await;
        assert!(matches!(second.state, LegState::Acked | LegState::Skipped), "{second:?}");
        assert_eq!(*self.github.repository(), repository, "the second delivery changed something");
        assert_eq!(self.github.notices(), notices, "the second delivery was told again");
        first
    }
}

/// The words a leg ended with.
pub fn reason(leg: &LegView) -> &str {
    leg.reason.as_deref().unwrap_or_default()
}

/// A plugin's own example of an event, from its tests.
pub fn document(plugin: &str, event: &str) -> Value {
    serde_json::from_str(&read(plugin, &format!("tests/{event}.json"))).expect("the example is JSON")
}

fn read(plugin: &str, file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins").join(plugin).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[expect(clippy::print_stdout, reason = "what is skipped is said")]
fn component(plugin: &str) -> Option<Vec<u8>> {
    let file = target_dir().join("plugins").join(plugin).with_extension("wasm");
    let wasm = fs::read(&file).ok();
    if wasm.is_none() {
        println!("skipped: {} is not there; `cargo xtask plugins` builds it", file.display());
    }
    wasm
}
