//! What the tests of the shipped plugins have in common: whole deliveries through a plugin, with its manifest's own configuration, before a
//! GitHub that is a function. What a plugin makes of a strict one on a socket is tested in a whole host, in `tests/scenarios/handlers`.

use hookyard_sdk::{
    Delivery, Verdict,
    http::Response,
    testing::{Host, Report, SentRequest},
};
pub use serde_json::{Value, json};

/// A plugin and what it is tested with.
#[derive(Clone, Copy, Debug)]
pub struct Desk {
    /// The plugin.
    pub handle: fn(Delivery) -> Result<Verdict, Verdict>,
    /// The event of its example.
    pub event: &'static str,
    /// The example.
    pub document: &'static str,
    /// Its manifest.
    pub manifest: &'static str,
    /// What is answered to a method and a path below the repository, by status and body.
    pub answer: fn(&str, &str) -> (u16, Value),
}

impl Desk {
    /// A host with the manifest's configuration.
    pub fn host(&self) -> Host {
        let manifest: toml::Table = toml::from_str(self.manifest).expect("the manifest is TOML");
        self.configured(serde_json::to_value(&manifest["config"]).expect("tables are JSON"))
    }

    /// A host with another configuration.
    pub fn configured(&self, config: Value) -> Host {
        let answer = self.answer;
        Host::new().config(config).answering(move |request| {
            let (status, body) = answer(&request.method, below(request));
            Ok(Response::new(status).with_json(&body))
        })
    }

    /// The example.
    pub fn example(&self) -> Value {
        serde_json::from_str(self.document).expect("the example is JSON")
    }

    /// The example with a change, in a host of its own.
    pub fn run(&self, change: impl FnOnce(&mut Value)) -> Report {
        self.run_in(&mut self.host(), change)
    }

    /// The example with a change.
    pub fn run_in(&self, host: &mut Host, change: impl FnOnce(&mut Value)) -> Report {
        let mut document = self.example();
        change(&mut document);
        host.run(self.handle, Delivery::sample(self.event, document.to_string().as_bytes()))
    }

    /// What does not fit: a configuration is retried, since it can be mended; a document is a dead letter.
    pub fn refuses_what_does_not_fit(&self) {
        let report = self.run_in(&mut self.configured(json!({"misspelt": 1})), |_| ());
        assert!(matches!(&report.verdict, Verdict::Retry { reason, .. } if reason.contains("misspelt")), "{:?}", report.verdict);
        // An action, so that the plugin looks further.
        let document = json!({"action": self.example()["action"], "repository": 7});
        let report = self.host().run(self.handle, Delivery::sample(self.event, document.to_string().as_bytes()));
        assert!(matches!(report.verdict, Verdict::Reject(_)), "{:?}", report.verdict);
    }
}

/// What was to be changed: method, path below the repository, body.
pub fn changes(report: &Report) -> Vec<(&str, &str, Value)> {
    let changing = report.requests.iter().filter(|request| request.method != "GET");
    let body = |request: &SentRequest| if request.body.is_empty() { Value::Null } else { request.json() };
    changing.map(|request| (request.method.as_str(), below(request), body(request))).collect()
}

/// The path below the repository; nothing for the chat, whose URL is not the plugin's to know.
pub fn below(request: &SentRequest) -> &str {
    let url = request.url.strip_prefix("https://api.github.com/repos/acme/shop").unwrap_or(&request.url);
    url.split('?').next().unwrap_or_default()
}
