//! A scratch folder laid out like an operator's: `hookyard.toml`, tenants with a source and a secret, plugins beside their manifests.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{
    amqp::KEY,
    rabbit::{self, Queue},
};

/// The secret every test tenant's source signs with.
pub const SECRET: &str = "It's a Secret to Everybody";

/// What stands in the folder before a host starts on it.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// More lines of `hookyard.toml`.
    pub hookyard_toml: String,
    /// More lines of each tenant's `tenant.toml`.
    pub tenant_toml: String,
    /// RabbitMQ, instead of the queue this test binary is for.
    pub rabbitmq: Option<Queue>,
    /// (tenant, name) → component and manifest.
    pub plugins: BTreeMap<(String, String), (Vec<u8>, String)>,
}

/// The folder; removed when dropped.
#[derive(Debug)]
pub struct Folder {
    dir: TempDir,
    /// Kept for as long as a host may start here.
    _rabbitmq: Option<Queue>,
}

impl Folder {
    /// Lays the folder out. The tenant `default` is always there.
    pub fn lay(layout: &Layout) -> Self {
        let dir = TempDir::with_prefix("hookyard-test-").expect("a temporary folder");
        let rabbitmq = layout.rabbitmq.clone().or_else(rabbit::of_this_binary);
        let broker = rabbitmq.as_ref().map(|queue| broker_toml(queue, dir.path())).unwrap_or_default();
        let folder = Self { dir, _rabbitmq: rabbitmq };
        let root = folder.path();
        let toml = format!(
            "data_dir = \"{}\"\ntenants_dir = \"{}\"\n{}\n{broker}[ingest]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n",
            root.join("data").display(),
            root.join("tenants").display(),
            layout.hookyard_toml,
        );
        write(&root.join("hookyard.toml"), toml.as_bytes());
        let tenants = layout.plugins.keys().map(|(tenant, _)| tenant.as_str()).chain(["default"]);
        for tenant in tenants {
            folder.add_tenant(tenant, &layout.tenant_toml);
        }
        for ((tenant, name), (wasm, manifest)) in &layout.plugins {
            folder.deploy(tenant, name, wasm, manifest);
        }
        folder
    }

    /// Where everything is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.path().join("hookyard.toml")
    }

    /// Where a tenant's plugins are dropped.
    pub fn plugins(&self, tenant: &str) -> PathBuf {
        self.path().join("tenants").join(tenant).join("plugins")
    }

    /// A tenant with the source `github` under [`SECRET`].
    pub fn add_tenant(&self, tenant: &str, more: &str) {
        let dir = self.path().join("tenants").join(tenant);
        fs::create_dir_all(dir.join("plugins")).expect("a tenant folder");
        write(&dir.join("secrets/github"), SECRET.as_bytes());
        let toml = format!("[sources.github]\nscheme = \"github\"\nsecrets = [{{ file = \"secrets/github\" }}]\n{more}\n");
        write(&dir.join("tenant.toml"), toml.as_bytes());
    }

    /// Drops a component and its manifest into the tenant's folder, each whole by a rename, the manifest first.
    pub fn deploy(&self, tenant: &str, name: &str, wasm: &[u8], manifest: &str) {
        let plugins = self.plugins(tenant);
        write(&plugins.join(format!("{name}.toml")), manifest.as_bytes());
        write(&plugins.join(format!("{name}.wasm")), wasm);
    }
}

fn broker_toml(queue: &Queue, root: &Path) -> String {
    let file = root.join("secrets/amqp");
    write(&file, queue.url.as_bytes());
    let key = root.join("secrets/amqp-key");
    write(&key, KEY.as_bytes());
    let (ack_after, file, key, more) = (queue.ack_after, file.display(), key.display(), &queue.more);
    format!(
        "[broker]\nkind = \"rabbitmq\"\nack_after = \"{ack_after}\"\n[broker.rabbitmq]\nurl = {{ file = \"{file}\" }}\nkeys = [{{ file = \"{key}\" \
         }}]\n{more}\n"
    )
}

/// Writes a file so that it is seen whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) {
    let parent = path.parent().expect("a folder");
    fs::create_dir_all(parent).expect("a folder");
    let mut file = tempfile::NamedTempFile::new_in(parent).expect("a temporary file");
    std::io::Write::write_all(&mut file, bytes).expect("a written file");
    file.persist(path).expect("a renamed file");
}
