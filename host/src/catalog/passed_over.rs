//! What lies in the folders and was probably meant to be a plugin or a tenant, and has no name of one: no host looks at it, and that is told.
//!
//! It is looked for beside the look that deploys, and by one task at a time: names that mean nothing must not delay those that do.

use std::{fs, path::Path, sync::Arc};

use futures_util::future::join_all;

use super::{Inner, files, look::LOOK_MAX};
use crate::{
    delivery::{PluginName, TenantId, view::PassedOverView},
    shares::Holder,
    tasks::Tasks,
};

/// Names that are told of one folder.
const NAMES_MAX: usize = 50;

impl Inner {
    /// Looks for such names, unless somebody does already.
    pub(super) fn look_for_passed_over(self: &Arc<Self>, tasks: &Tasks) {
        let Ok(turn) = Arc::clone(&self.passing_over).try_lock_owned() else { return };
        let (inner, stopping) = (Arc::clone(self), tasks.clone());
        tasks.spawn("passed_over", async move {
            tokio::select! {
                () = stopping.stopping() => {}
                () = inner.note_passed_over() => {}
            }
            drop(turn);
        });
    }

    /// Notes what is passed over now, and says what is new of it.
    pub(super) async fn note_passed_over(&self) {
        let dir = self.settings.tenants_dir.clone();
        let of_tenants = self.settings.shares.threads(Holder::Host).run(move || folders(&dir)).await.unwrap_or_default();
        let of_plugins = join_all(self.tenants().await.into_iter().map(|tenant| self.misnamed(tenant))).await;
        let found: Vec<_> = of_tenants.into_iter().chain(of_plugins.into_iter().flatten()).collect();
        let before = self.passed_over.swap(Arc::new(found.clone()));
        for PassedOverView { path, reason, .. } in found.iter().filter(|one| !before.contains(one)) {
            tracing::warn!(file = path.as_str(), reason = reason.as_str(), "name_passed_over");
        }
    }

    async fn misnamed(&self, tenant: TenantId) -> Vec<PassedOverView> {
        let home = self.settings.tenants_dir.join(tenant.as_str());
        let threads = self.parts.runtime.threads(&tenant);
        let look = threads.run(move || files::misnamed(&home));
        let found = tokio::select! {
            biased;
            found = look => found.ok().and_then(Result::ok).unwrap_or_default(),
            () = self.parts.clock.sleep(LOOK_MAX) => Vec::new(),
        };
        found.into_iter().take(NAMES_MAX).map(|name| of_plugin(&tenant, &name)).collect()
    }
}

/// Folders beside the tenants' that are no tenant's by their name.
fn folders(dir: &Path) -> Vec<PassedOverView> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name());
    let told = |name: std::ffi::OsString| {
        let name = name.to_string_lossy().into_owned();
        let error = name.parse::<TenantId>().err().filter(|_| !name.starts_with('.') && name != "lost+found")?;
        Some(PassedOverView {
            tenant: None,
            reason: format!("no tenant's name: {error}; rename it, such as to {}", fitting(&name)),
            path: name,
        })
    };
    names.filter_map(told).take(NAMES_MAX).collect()
}

fn of_plugin(tenant: &TenantId, file_name: &str) -> PassedOverView {
    let (stem, extension) = file_name.rsplit_once('.').unwrap_or((file_name, ""));
    let error = stem.parse::<PluginName>().err().map(|error| error.to_string()).unwrap_or_default();
    PassedOverView {
        tenant: Some(tenant.clone()),
        path: format!("{tenant}/plugins/{file_name}"),
        reason: format!("no plugin's name: {error}; rename it, such as to {}.{extension}", fitting(stem)),
    }
}

/// A name that is like it and can be looked at: `MyPlugin` becomes `my-plugin`.
fn fitting(name: &str) -> String {
    let (mut fitting, mut before) = (String::new(), ' ');
    for c in name.chars() {
        let is_new_word = c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit());
        let is_gap = !c.is_ascii_alphanumeric() && !fitting.is_empty() && !fitting.ends_with('-');
        if is_new_word || is_gap {
            fitting.push('-');
        }
        fitting.extend(c.is_ascii_alphanumeric().then(|| c.to_ascii_lowercase()));
        before = c;
    }
    fitting.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_fits_is_told_beside_the_one_that_does_not() {
        for (name, like) in
            [("MyPlugin", "my-plugin"), ("Acme", "acme"), ("a.b", "a-b"), ("PR size", "pr-size"), ("v2Big", "v2-big"), ("über", "ber")]
        {
            assert_eq!(fitting(name), like, "{name}");
            assert!(like.parse::<PluginName>().is_ok(), "{like}");
        }
    }
}
