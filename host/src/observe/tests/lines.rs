//! The lines of facts, as a collector and a terminal get them.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use super::*;

#[test]
fn strangers_write_ten_lines_a_second_and_are_all_counted() {
    let clock = Clock::manual(Timestamp::from_unix_ms(0));
    let observer = Observer::new(clock.clone());
    let lines = lines_of(|| (0..100_000).for_each(|_| observer.record(&refused())));
    assert_eq!(lines.lines().count(), 10);
    clock.advance(Duration::from_secs(1));
    assert_eq!(lines_of(|| observer.record(&refused())).lines().count(), 1);
    let text = observer.encode(&Scrape::default());
    assert_has(&text, r#"hookyard_deliveries_total{tenant="unknown",source="unknown",code="signature_mismatch"} 100001"#);
    assert_has(&text, "hookyard_log_lines_suppressed_total 99990");
}

#[test]
fn a_line_and_an_event_say_the_same_under_the_facts_one_name() {
    let observer = Observer::default();
    let mut onlooker = observer.subscribe();
    let lines = lines_of(|| observer.record(&finished()));
    let line: serde_json::Value = serde_json::from_str(lines.trim_end()).unwrap();
    let event = onlooker.try_recv().unwrap();
    assert_eq!(line["message"], event.kind);
    for (field, value) in &event.fields {
        if *field != "delivery_id" {
            assert_eq!(&line[*field], value, "{field}");
        }
    }
}

/// The names in an object, each as often as it stands there: of two values under one name, readers keep one.
struct Names(Vec<String>);

impl<'de> serde::Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> serde::de::Visitor<'de> for InOrder {
            type Value = Names;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, _)) = map.next_entry::<String, serde_json::Value>()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[test]
fn every_facts_line_is_an_object_that_has_each_name_once() {
    let text = lines_of(|| state_everything(&Observer::default()));
    assert_eq!(text.lines().count(), 17, "{text}");
    for line in text.lines() {
        let Names(mut names) = serde_json::from_str(line).unwrap();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "{line}");
    }
}

#[test]
fn control_bytes_of_a_plugin_do_not_reach_a_persons_terminal() {
    let written = Written::default();
    let lines = tracing_subscriber::fmt().with_writer(written.clone()).with_ansi(false).finish();
    tracing::subscriber::with_default(lines, || Observer::default().record(&finished()));
    let text = written.text();
    assert!(text.contains("attempt_finished") && text.contains("well"), "{text}");
    assert!(!text.contains('\u{1b}') && text.lines().count() == 1, "{text:?}");
}

/// What `act` logs, as the collector sees it.
fn lines_of(act: impl FnOnce()) -> String {
    let written = Written::default();
    let lines = tracing_subscriber::fmt().json().flatten_event(true).with_writer(written.clone()).finish();
    tracing::subscriber::with_default(lines, act);
    written.text()
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
