//! The marker of a digest under compilation: it is lifted when the compiler has come back or is no longer wanted, and stays where it, or the
//! host, died on it. Otherwise one file would bring the host down at every start.
//!
//! A host can end for a hundred reasons while it compiles, so one marker that was left proves little: only the second time the digest is
//! taken for the cause. A compiler that ran into its own limits proves enough at once.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    delivery::Digest,
    runtime::{AdmissionError, Again},
};

/// How often a digest may be under compilation when the host ends.
pub(super) const STRIKES_MAX: u8 = 2;

/// A marker that lies there.
pub(super) struct Marker {
    path: PathBuf,
    /// How often this digest was under compilation when a compiler or a host ended, this time not counted.
    strikes: u8,
    stays: bool,
}

impl Marker {
    /// Lays the marker of `digest`; refuses where it has been left too often.
    pub(super) fn lay(dir: &Path, digest: Digest) -> Result<Self, AdmissionError> {
        let path = dir.join(format!("compiling-{digest}"));
        // What is not a number was left by a version that did not count: once.
        let strikes = fs::read_to_string(&path).ok().map_or(0, |text| text.trim().parse().unwrap_or(1));
        if strikes >= STRIKES_MAX {
            let detail = format!(
                "these very bytes ended a compiler, or this host twice; put a changed file, or remove {} and they are tried again at once",
                path.display()
            );
            return Err(AdmissionError { again: Some(Again::WithoutFile(path)), ..AdmissionError::new("compile_quarantined", detail) });
        }
        // If the host ends now, this is what it will find.
        let marker = Self { path, strikes, stays: false };
        marker.write(strikes + 1).map_err(|error| {
            let detail = format!("cannot write {}: {error}", marker.path.display());
            AdmissionError::new("compile_failed", detail)
        })?;
        Ok(marker)
    }

    /// The compiler died on it: `is_certain` where by its own limits, else perhaps for a reason of somebody else's.
    pub(super) fn strike(&mut self, is_certain: bool) {
        self.stays = true;
        let strikes = if is_certain { STRIKES_MAX } else { self.strikes + 1 };
        if let Err(error) = self.write(strikes) {
            tracing::warn!(path = %self.path.display(), %error, "compile_marker_not_written");
        }
    }

    fn write(&self, strikes: u8) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        file.write_all(strikes.to_string().as_bytes())
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        // A compile that was only called off takes back no strike of before.
        let lifted = if self.strikes > 0 { self.write(self.strikes) } else { fs::remove_file(&self.path) };
        if let Err(error) = lifted {
            tracing::warn!(path = %self.path.display(), %error, "compile_marker_not_lifted");
        }
    }
}

impl Marker {
    /// The digest was compiled: what happened before was not its doing.
    pub(super) fn acquit(mut self) {
        self.strikes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::of(&[b"x"])
    }

    fn left_behind(dir: &Path) {
        // As a host that is killed: nothing is dropped.
        std::mem::forget(Marker::lay(dir, digest()).unwrap());
    }

    #[test]
    fn one_host_that_ended_proves_nothing_and_two_do() {
        let dir = tempfile::tempdir().unwrap();
        left_behind(dir.path());
        drop(Marker::lay(dir.path(), digest()).unwrap());
        left_behind(dir.path());
        let refused = Marker::lay(dir.path(), digest()).err().unwrap();
        assert_eq!(refused.code, "compile_quarantined");
        let Some(Again::WithoutFile(path)) = refused.again else { panic!("it is not told how it goes on") };
        fs::remove_file(path).unwrap();
        assert!(Marker::lay(dir.path(), digest()).is_ok(), "the advice works");
    }

    #[test]
    fn what_compiles_is_acquitted_of_what_happened_before() {
        let dir = tempfile::tempdir().unwrap();
        left_behind(dir.path());
        Marker::lay(dir.path(), digest()).unwrap().acquit();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_compiler_that_ran_into_its_limits_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        for (is_certain, code) in [(false, None), (true, Some("compile_quarantined"))] {
            let mut marker = Marker::lay(dir.path(), digest()).unwrap();
            marker.strike(is_certain);
            drop(marker);
            let next = Marker::lay(dir.path(), digest()).err().map(|error| error.code);
            assert_eq!(next, code, "{is_certain}");
            if code.is_none() {
                fs::remove_file(dir.path().join(format!("compiling-{}", digest()))).unwrap();
            }
        }
    }
}
