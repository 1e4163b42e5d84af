//! How the author's loop says numbers, and with what a try-out begins.

use crate::catalog::Manifest;

/// The first event of a manifest that has a name: what a try-out begins with.
pub(super) fn first_event(manifest: &Manifest) -> &str {
    let names = manifest.events.iter().map(|pattern| pattern.split('.').next().unwrap_or(pattern));
    names.filter(|name| *name != "*").find(|name| !name.is_empty()).unwrap_or("push")
}

/// A number with its thousands apart.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// A size, to a tenth of the largest unit that fits.
pub(super) fn bytes(value: u64) -> String {
    let (unit, name) =
        [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")].into_iter().find(|(unit, _)| value >= *unit).unwrap_or((1, "bytes"));
    if unit == 1 { format!("{value} {name}") } else { format!("{}.{} {name}", value / unit, value % unit * 10 / unit) }
}

/// What was used of what there was, to a tenth of a percent.
pub(super) fn share(used: u64, most: u64) -> String {
    let permille = u128::from(used) * 1000 / u128::from(most.max(1));
    format!("{}.{} %", permille / 10, permille % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_to_be_read() {
        assert_eq!([0, 999, 1_000, 84_679, 1_002_026_000].map(number), ["0", "999", "1,000", "84,679", "1,002,026,000"]);
        assert_eq!(
            [0, 1_023, 1_024, 1_180_288, 67_108_864, u64::MAX].map(bytes),
            ["0 bytes", "1023 bytes", "1.0 KiB", "1.1 MiB", "64.0 MiB", "17179869183.9 GiB"]
        );
        assert_eq!([share(5, 1000), share(u64::MAX, u64::MAX), share(0, 0)], ["0.5 %", "100.0 %", "0.0 %"]);
    }

    #[test]
    fn a_try_out_begins_with_the_first_event_that_has_a_name() {
        let manifest =
            |events: &str| crate::catalog::parse_manifest(format!("sources = [\"github\"]\nevents = {events}\n").as_bytes()).unwrap();
        assert_eq!(first_event(&manifest("[\"pull_request.opened\", \"push\"]")), "pull_request");
        assert_eq!(first_event(&manifest("[\"*\"]")), "push");
    }
}
