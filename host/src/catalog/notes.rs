//! What a version names and nobody has: most likely misspelt, perhaps only early. It serves all the same, since the other file may come later; who
//! looks at it is told.

use super::{Inner, Plugin, manifest::Manifest};
use crate::{
    delivery::{PUBLISHED_EVENTS, PluginName, SourceId, TenantId, view::PluginView},
    egress::Asked,
    tenants::Tenant,
    text::nearest,
};

impl Inner {
    /// With what is to be looked at in the version that serves.
    pub(super) fn noted(&self, view: PluginView) -> PluginView {
        PluginView { notes: self.notes(&view.tenant, &view.name), ..view }
    }

    /// Says once, after a deploy, what is to be looked at in it.
    pub(super) fn tell_notes(&self, tenant: &TenantId, name: &PluginName) {
        let notes = self.notes(tenant, name);
        if !notes.is_empty() {
            tracing::warn!(%tenant, plugin = %name, detail = notes.join("; "), "plugin_names_nothing");
        }
    }

    fn notes(&self, tenant: &TenantId, name: &PluginName) -> Vec<String> {
        let plugin = self.table.load().entry(tenant, name).and_then(|entry| entry.plugin.clone());
        let directory = self.parts.tenants.snapshot();
        plugin.zip(directory.tenants.get(tenant)).map(|(plugin, tenant)| of(&plugin, tenant)).unwrap_or_default()
    }
}

/// What to look at in the version that serves, as its tenant is now.
fn of(plugin: &Plugin, tenant: &Tenant) -> Vec<String> {
    let sources: Vec<_> = tenant.sources.keys().map(SourceId::as_str).collect();
    let credentials: Vec<_> = tenant.allowed.credentials.keys().map(String::as_str).collect();
    let of_sources = plugin.sources.iter().filter_map(|source| missing("source", source.as_str(), &sources));
    let of_credentials = named_credentials(&plugin.asked).into_iter().filter_map(|name| missing("credential", name, &credentials));
    of_sources.chain(of_events(&plugin.events)).chain(of_credentials).collect()
}

/// What to look at in a manifest, whosever it is.
pub(super) fn of_manifest(manifest: &Manifest) -> Vec<String> {
    of_events(&manifest.events).collect()
}

/// The event that a pattern was probably meant for; none where it names one, or nothing like one.
pub(super) fn near_event(pattern: &str) -> Option<&'static str> {
    let event = pattern.split('.').next().unwrap_or_default();
    let is_known = event == "*" || PUBLISHED_EVENTS.binary_search(&event).is_ok();
    nearest(event, PUBLISHED_EVENTS).filter(|_| !is_known)
}

fn of_events(events: &[String]) -> impl Iterator<Item = String> {
    let note = |event: &String| Some(format!("event `{event}` is none that GitHub sends; did you mean `{}`?", near_event(event)?));
    events.iter().filter_map(note)
}

fn named_credentials(asked: &Asked) -> Vec<&str> {
    let of_http = asked.http.iter().filter_map(|grant| grant.credential.as_deref());
    let mut names: Vec<_> = of_http.chain(asked.secrets.iter().map(|grant| grant.credential.as_str())).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn missing(what: &str, name: &str, known: &[&str]) -> Option<String> {
    if known.contains(&name) {
        return None;
    }
    let near = nearest(name, known.iter().copied()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Some(format!("{what} `{}` is none of the tenant's{near}", name.escape_debug()))
}
