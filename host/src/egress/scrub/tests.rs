//! Secrets in every spelling, and what finding them costs.

use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;

use super::*;

const SECRET: &str = "gh\"p_/0+1&2?3%4\\5ü67";

fn scrubbed(text: &str) -> String {
    Scrubber::of([SECRET.as_bytes()]).text(text)
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[test]
fn a_secret_is_cut_out_in_every_spelling() {
    let json = serde_json::to_string(SECRET).unwrap();
    let unicode = SECRET.chars().map(|c| format!("\\u{:04x}", c as u32)).collect::<Vec<_>>().concat();
    let html = SECRET.chars().map(|c| format!("&#{};", c as u32)).collect::<Vec<_>>().concat();
    for (what, spelling) in [
        ("as it is", SECRET.to_owned()),
        ("in capitals", SECRET.to_ascii_uppercase()),
        ("percent", percent(SECRET)),
        ("percent in lower case", percent(SECRET).to_ascii_lowercase()),
        ("percent twice", percent(&percent(SECRET))),
        ("json", json[1..json.len() - 1].to_owned()),
        ("json slashes", SECRET.replace('\\', "\\\\").replace('"', "\\\"").replace('/', "\\/")),
        ("json in unicode", unicode.clone()),
        ("json in a query", percent(&unicode)),
        ("html", html),
        ("hexadecimal", SECRET.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()),
    ] {
        assert_eq!(scrubbed(&format!("a {spelling} b")), "a [scrubbed] b", "{what}");
    }
}

#[test]
fn base64_is_found_at_every_offset_and_goes_with_its_edges() {
    for before in ["", "x", "xy", "xyz", "user:"] {
        for after in ["", "1", "12", "123"] {
            for encoded in [STANDARD.encode(format!("{before}{SECRET}{after}")), URL_SAFE.encode(format!("{before}{SECRET}{after}"))] {
                let clean = scrubbed(&format!("Basic {encoded}, next"));
                assert!(clean.contains("[scrubbed]") && clean.ends_with(", next"), "{clean}");
                let left = clean.replace("Basic ", "").replace("[scrubbed]", "").replace(", next", "");
                assert!(left.len() <= 8, "{before}{after}: {left}");
            }
        }
    }
    let in_json = STANDARD.encode(SECRET).replace('/', "\\/");
    assert_eq!(scrubbed(&in_json), "[scrubbed]");
}

#[test]
fn several_secrets_and_overlaps_leave_nothing_and_the_rest_stays() {
    let scrubber = Scrubber::of([b"first-secret".as_slice(), b"second-secret", b"secret-first"]);
    assert_eq!(scrubber.text("a first-secret-first b second-secret c"), "a [scrubbed] b [scrubbed] c");
    assert!(matches!(scrubber.bytes(b"nothing % \\ & here"), Cow::Borrowed(_)));
    assert_eq!(Scrubber::of([b"short".as_slice()]).text("short"), "short", "refused where it is configured");
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures of docs/capabilities.md, for who reads them")]
fn sixty_credentials_cost_about_what_one_does() {
    let held: Vec<String> = (0..60).map(|n| format!("ghp_{n:02}credential-{}", n * 7_919)).collect();
    let text = "a line of an answer, with words and numbers 0123456789 in it\n".repeat(16_000);
    let time = |secrets: &[String]| {
        let scrubber = Scrubber::of(secrets.iter().map(String::as_bytes));
        let began = tokio::time::Instant::now();
        assert!(matches!(scrubber.bytes(text.as_bytes()), Cow::Borrowed(_)));
        began.elapsed()
    };
    let fastest = |secrets: &[String]| (0..5).map(|_| time(secrets)).min().unwrap();
    let (one, sixty) = (fastest(&held[..1]), fastest(&held));
    println!("{} bytes: {one:?} with one credential, {sixty:?} with sixty", text.len());
    assert!(sixty < one * 4, "{} bytes: {one:?} with one, {sixty:?} with sixty", text.len());
}

#[test]
fn a_text_made_to_be_costly_goes_whole() {
    let alike: Vec<String> = (0..60).map(|n| format!("{n:02}{}", "a".repeat(60))).collect();
    let scrubber = Scrubber::of(alike.iter().map(String::as_bytes));
    assert_eq!(scrubber.text(&"a".repeat(1 << 20)), "[scrubbed]");
    assert_eq!(scrubber.text(&format!("x{}y", alike[7])), "x[scrubbed]y");
}

proptest! {
    #[test]
    fn no_text_around_it_saves_a_secret_and_none_breaks_the_search(before in ".{0,12}", after in ".{0,12}") {
        let clean = scrubbed(&format!("{before}{SECRET}{after}"));
        prop_assert!(!clean.contains(SECRET));
    }

    #[test]
    fn any_bytes_are_searched_without_a_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let scrubber = Scrubber::of([SECRET.as_bytes()]);
        let clean = scrubber.bytes(&text);
        prop_assert!(clean.len() >= MARK.len() || clean.len() == text.len());
    }
}
