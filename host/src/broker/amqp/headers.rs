//! The headers of a message that are ours: everything under our names, and the trace.
//!
//! What RabbitMQ adds on its ways (`x-death` and the like) is not ours, is not sealed and is not passed on, or a leg that is retried often would
//! be taken for a message in a circle, and dropped. A header of ours that this version does not know belongs to a later one: it is sealed and
//! passed on like the others.

use std::collections::BTreeMap;

use lapin::types::{AMQPValue, FieldTable};

use super::{publisher::HeaderValue, rejection::Rejection};
use crate::{
    delivery::{PluginName, TenantId, Timestamp},
    ledger::{Death, Position},
};

pub(super) const TENANT: &str = "hookyard-tenant";
pub(super) const PLUGIN: &str = "hookyard-plugin";
pub(super) const GENERATION: &str = "hookyard-generation";
pub(super) const RUNS: &str = "hookyard-runs";
pub(super) const ATTEMPTS: &str = "hookyard-attempts";
pub(super) const CRASHES: &str = "hookyard-crashes";
pub(super) const TRIED_MS: &str = "hookyard-tried-ms";
pub(super) const DUE_MS: &str = "hookyard-due-ms";
pub(super) const ORIGIN: &str = "hookyard-origin";
pub(super) const REASON: &str = "hookyard-reason";
pub(super) const OUTCOME: &str = "hookyard-outcome";
pub(super) const DETAIL: &str = "hookyard-detail";
pub(super) const TRACE: &str = "traceparent";
/// The seal, which covers all of the above and not itself.
pub(super) const SEAL: &str = "hookyard-seal";
/// On a message that was put aside, for an operator: why, in words and as a slug, and from which queue. No host reads them, and a message that is
/// put back is as genuine as before.
pub(super) const WHY: &str = "hookyard-why";
/// See [`WHY`].
pub(super) const REJECTION: &str = "hookyard-rejection";
/// See [`WHY`].
pub(super) const QUEUE: &str = "hookyard-queue";

const OURS: &str = "hookyard-";
const NOT_SEALED: [&str; 4] = [SEAL, WHY, REJECTION, QUEUE];
/// Headers of ours that a message may have.
const COUNT_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 64;
/// The longest text of a header: words about a death.
const TEXT_BYTES_MAX: usize = 8 * 1024;
/// Of a slug in a header.
const SLUG_BYTES_MAX: usize = 64;
/// The last millisecond of the year 9999.
const UNIX_MS_MAX: i64 = 253_402_300_799_999;

/// The headers of a message that are ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(BTreeMap<String, HeaderValue>);

impl Headers {
    /// Ours among those of a message; what is not of our form is a reason to put the message aside.
    pub(super) fn read(table: Option<&FieldTable>) -> Result<Self, Rejection> {
        let mut headers = BTreeMap::new();
        for (name, value) in table.into_iter().flat_map(FieldTable::inner) {
            let name = name.as_str();
            if NOT_SEALED.contains(&name) || !(name.starts_with(OURS) || name == TRACE) {
                continue;
            }
            if headers.len() == COUNT_MAX
                || name.len() > NAME_BYTES_MAX
                || !name.bytes().all(|byte| byte == b'-' || byte.is_ascii_alphanumeric())
            {
                return Err(Rejection::Malformed("it has more headers under our names than a host gives, or longer ones"));
            }
            let value = self::value(value).ok_or(Rejection::Malformed("a header under one of our names is neither text nor number"))?;
            if matches!(&value, HeaderValue::Text(text) if text.len() > TEXT_BYTES_MAX || !is_text(text)) {
                return Err(Rejection::UnfitText("a header"));
            }
            headers.insert(name.to_owned(), value);
        }
        Ok(Self(headers))
    }

    /// The seal among the headers of a message.
    pub(super) fn seal(table: Option<&FieldTable>) -> Result<&str, Rejection> {
        match table.and_then(|table| table.inner().get(SEAL)) {
            None => Err(Rejection::Unsealed),
            Some(AMQPValue::LongString(seal)) if seal.len() <= 256 => {
                std::str::from_utf8(seal.as_bytes()).map_err(|_| Rejection::Malformed("its seal is no text"))
            }
            Some(_) => Err(Rejection::Malformed("its seal is no text")),
        }
    }

    /// What is kept of the headers of a message that is put aside: all of ours that have our form, the seal among them.
    pub(super) fn evidence(table: Option<&FieldTable>) -> Vec<(String, HeaderValue)> {
        let fits = |value: &HeaderValue| !matches!(value, HeaderValue::Text(text) if text.len() > TEXT_BYTES_MAX);
        let all = table.into_iter().flat_map(FieldTable::inner).filter(|(name, _)| {
            let name = name.as_str();
            name.len() <= NAME_BYTES_MAX && (name.starts_with(OURS) || name == TRACE) && ![WHY, REJECTION, QUEUE].contains(&name)
        });
        all.filter_map(|(name, value)| Some((name.to_string(), self::value(value).filter(fits)?))).take(COUNT_MAX).collect()
    }

    pub(super) fn put(&mut self, name: &str, value: HeaderValue) {
        self.0.insert(name.to_owned(), value);
    }

    /// All of them, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    fn number(&self, name: &str) -> Option<i64> {
        match self.0.get(name)? {
            HeaderValue::Number(number) => Some(*number),
            HeaderValue::Text(_) => None,
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            HeaderValue::Text(text) => Some(text),
            HeaderValue::Number(_) => None,
        }
    }

    /// How far the leg has come.
    pub(super) fn position(&self) -> Result<Position, Rejection> {
        let number = |name| self.number(name).ok_or(Rejection::Malformed("its headers do not say how far the leg has come"));
        let (generation, runs, attempts, crashes) = (number(GENERATION)?, number(RUNS)?, number(ATTEMPTS)?, number(CRASHES)?);
        let small = |number: i64| u32::try_from(number).map_err(|_| Rejection::OutOfRange("how far the leg has come"));
        let position = Position {
            generation: small(generation)?,
            runs: u64::try_from(runs).map_err(|_| Rejection::OutOfRange("how far the leg has come"))?,
            attempts: small(attempts)?,
            crashes: small(crashes)?,
            // A version before this one gives none: the time then begins with the next failure.
            tried_at: self.number(TRIED_MS).map(|ms| time(ms, "when its first attempt began")).transpose()?,
        };
        if position.is_in_range() { Ok(position) } else { Err(Rejection::OutOfRange("how far the leg has come")) }
    }

    /// The queue the leg belongs to.
    pub(super) fn queue(&self) -> Result<(TenantId, PluginName), Rejection> {
        let unsaid = Rejection::Malformed("its headers do not say whose it is");
        let name = |name| self.text(name).ok_or(unsaid.clone());
        Ok((name(TENANT)?.parse().map_err(|_| unsaid.clone())?, name(PLUGIN)?.parse().map_err(|_| unsaid.clone())?))
    }

    /// When the leg may run, where that was not at once.
    pub(super) fn due_at(&self) -> Result<Option<Timestamp>, Rejection> {
        self.number(DUE_MS).map(|due_ms| time(due_ms, "its due time")).transpose()
    }

    /// The ledger whose host published it.
    pub(super) fn origin(&self) -> Option<u64> {
        self.number(ORIGIN).map(i64::cast_unsigned)
    }

    /// Why it died; none where the broker made it a dead letter.
    pub(super) fn death(&self) -> Result<Option<Death>, Rejection> {
        let text = |name| self.text(name).unwrap_or_default().to_owned();
        let Some(reason) = self.text(REASON) else { return Ok(None) };
        let death = Death { reason: reason.to_owned(), outcome: text(OUTCOME), detail: text(DETAIL) };
        let is_slug = |text: &str| text.len() <= SLUG_BYTES_MAX && text.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
        if is_slug(&death.reason) && is_slug(&death.outcome) { Ok(Some(death)) } else { Err(Rejection::UnfitText("why it died")) }
    }
}

/// A time that a clock may show: from 1970 to the year 9999.
pub(super) fn time(unix_ms: i64, what: &'static str) -> Result<Timestamp, Rejection> {
    if (0..=UNIX_MS_MAX).contains(&unix_ms) { Ok(Timestamp::from_unix_ms(unix_ms)) } else { Err(Rejection::OutOfRange(what)) }
}

/// Text without anything that a terminal or a log would obey; line ends and tabs belong to text.
pub(super) fn is_text(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
}

fn value(value: &AMQPValue) -> Option<HeaderValue> {
    match value {
        AMQPValue::LongLongInt(number) => Some(HeaderValue::Number(*number)),
        AMQPValue::LongInt(number) => Some(HeaderValue::Number((*number).into())),
        AMQPValue::LongString(text) => Some(HeaderValue::Text(std::str::from_utf8(text.as_bytes()).ok()?.to_owned())),
        _ => None,
    }
}
