//! What this machine must have for a configuration: files, folders, room and addresses. A start would find each of these out, most of them after
//! the old process is gone.

use std::{
    fmt::Display,
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use super::{Config, Problem, pem};
use crate::{ledger, listen::Listen, shares::Unit};

/// Looks at all of it, and changes nothing.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut machine = Machine { file: &config.file, problems: Vec::new() };
    machine.tls(config);
    machine.authorities(config);
    machine.data(config);
    machine.addresses(config);
    machine.problems
}

struct Machine<'a> {
    file: &'a Path,
    problems: Vec<Problem>,
}

impl Machine<'_> {
    fn problem(&mut self, key: &str, (found, expected): (impl Display, impl Display), hint: Option<&str>) {
        let (found, expected, hint) = (found.to_string(), expected.to_string(), hint.map(str::to_owned));
        self.problems.push(Problem { file: self.file.to_owned(), key: key.to_owned(), found, expected, hint });
    }

    fn read(&mut self, key: &str, path: &Path) -> Option<Vec<u8>> {
        let read = fs::read(path);
        read.map_err(|error| self.problem(key, (format!("{}: {error}", path.display()), "a file the host's user may read"), None)).ok()
    }

    fn tls(&mut self, config: &Config) {
        let Some(tls) = &config.ingest.tls else { return };
        let files = (self.read("ingest.tls.certificate", &tls.certificate), self.read("ingest.tls.key", &tls.key));
        let (Some(certificate), Some(key)) = files else { return };
        if let Err(found) = pem::pair(&certificate, &key) {
            let shown = format!("{} and {}: {found}", tls.certificate.display(), tls.key.display());
            self.problem("ingest.tls", (shown, "a certificate chain, the host's own first, and its key, both in PEM"), None);
        }
    }

    fn authorities(&mut self, config: &Config) {
        const KEY: &str = "egress.ca_file";
        let Some(path) = &config.egress.ca_file else { return };
        let Some(bytes) = self.read(KEY, path) else { return };
        if let Err(found) = pem::certificates(&bytes) {
            self.problem(KEY, (format!("{}: {found}", path.display()), "certificates in PEM"), None);
        }
    }

    /// The data folder, or the nearest one above it that is there, in which it will be made.
    fn data(&mut self, config: &Config) {
        let there = config.data_dir.ancestors().find(|path| path.exists()).map_or_else(|| PathBuf::from("/"), Path::to_owned);
        let shown = there.display();
        let expected = format!("a folder the host's user may write to, for {}", config.data_dir.display());
        if !there.is_dir() {
            return self.problem("data_dir", (format!("{shown} is no folder"), expected), None);
        }
        if let Err(error) = access(&there, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
            self.problem(
                "data_dir",
                (format!("{shown}: {}", io::Error::from(error)), expected),
                Some("run this as the user the host runs as"),
            );
        }
        let least = config.ledger.free_bytes_min;
        match ledger::free_bytes(&there) {
            Ok(free) if free < least => {
                let found = format!("{} free on the file system of {shown}", Unit::Bytes.shown(free));
                let expected = format!("at least {}: with less every delivery is refused (`storage_full`)", Unit::Bytes.shown(least));
                self.problem(
                    "ledger.free_bytes_min",
                    (found, expected),
                    Some("make room, put `data_dir` on a larger volume, or ask for less"),
                );
            }
            Ok(_) => {}
            Err(error) => self.problem("data_dir", (format!("{shown}: {error}"), "a file system that tells how much of it is free"), None),
        }
    }

    fn addresses(&mut self, config: &Config) {
        let (ingest, admin) = (config.ingest.listen.tcp(), config.admin.listen);
        if ingest == Some(admin) && admin.port() != 0 {
            self.problem("admin.listen", (admin, "another address than `ingest.listen`"), None);
        }
        if let Listen::Unix(path) = &config.ingest.listen
            && !path.parent().is_some_and(Path::is_dir)
        {
            let expected = "a socket in a folder that is there, and that the host's user may write to";
            self.problem("ingest.listen", (&config.ingest.listen, expected), None);
        }
        let addresses = ingest.map(|address| ("ingest.listen", address)).into_iter().chain([("admin.listen", admin)]);
        for (key, address) in addresses {
            // A port of its own, so that a host that runs already is in nobody's way.
            if let Err(error) = TcpListener::bind(SocketAddr::new(address.ip(), 0)) {
                self.problem(key, (format!("{address}: {error}"), "an address of this machine, or 0.0.0.0 or [::] for all of them"), None);
            } else if (1..1024).contains(&address.port())
                && TcpListener::bind(address).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
            {
                let hint = "take a port above, or give the process CAP_NET_BIND_SERVICE";
                self.problem(key, (format!("{address}: a port below 1024"), "a port this user may listen on"), Some(hint));
            }
        }
    }
}
