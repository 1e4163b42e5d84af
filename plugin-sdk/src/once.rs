//! Steps that a retry must not repeat.

use std::fmt;

use crate::{
    Verdict,
    bindings::hookyard::plugin::once::{Error as Refusal, Step as HostStep},
    host,
};

/// What the host remembers of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Done, in this run or before: its answer.
    Done(Vec<u8>),
    /// Begun before and never finished: only looking at the outside world tells whether it happened. Once known, call [`step::finish`].
    Unknown,
}

/// Why a step was not made, or not remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnceError<E> {
    /// The host did not take it.
    Host(String),
    /// The step itself failed, and its intent stays: the next run is told [`Step::Unknown`].
    Step(E),
}

/// Does `act` unless an earlier run of this delivery did: a durable intent, the act, its durable answer.
///
/// The three answers: done now or before ([`Step::Done`]); begun before and nobody knows ([`Step::Unknown`]); not done ([`OnceError`]). The key
/// is one of the plugin's own, and its memory is that of one delivery: another delivery begins anew.
///
/// A retry that does not comment twice. The first run comments and then has to wait for something else; the second finds the comment made:
///
/// ```
/// use hookyard_sdk::{Delivery, Step, Verdict, once, step, testing::Host};
///
/// # fn post_comment() -> Result<String, String> { Ok("c-7".to_owned()) }
/// # fn find_comment() -> Option<String> { Some("c-7".to_owned()) }
/// fn handle(delivery: Delivery) -> Result<Verdict, Verdict> {
///     let comment = match once("comment", || post_comment().map(String::into_bytes))? {
///         // Made now, or by an earlier run: either way this is what it gave.
///         Step::Done(id) => String::from_utf8_lossy(&id).into_owned(),
///         // An earlier run began and never ended, so nobody knows: look, and say what was found.
///         Step::Unknown => {
///             let id = find_comment().map_or_else(post_comment, Ok)?;
///             step::finish("comment", id.as_bytes())?;
///             id
///         }
///     };
///     if delivery.attempt() == 1 {
///         return Ok(Verdict::retry("the build has not ended"));
///     }
///     Ok(Verdict::skip(format!("commented as {comment}")))
/// }
///
/// let mut host = Host::new();
/// let first = host.run(handle, Delivery::sample("check_run", b"{}"));
/// assert_eq!(first.verdict, Verdict::retry("the build has not ended"));
/// let second = host.run(handle, Delivery::sample("check_run", b"{}").at_attempt(2));
/// assert_eq!(second.verdict, Verdict::skip("commented as c-7"));
/// assert_eq!(second.once["comment"].as_deref(), Some(&b"c-7"[..]));
///
/// // After a crash between the comment and its record, the plugin looks instead of commenting again.
/// let mut crashed = Host::new().interrupted("comment");
/// assert_eq!(crashed.run(handle, Delivery::sample("check_run", b"{}").at_attempt(2)).verdict, Verdict::skip("commented as c-7"));
/// ```
pub fn once<E>(key: &str, act: impl FnOnce() -> Result<Vec<u8>, E>) -> Result<Step, OnceError<E>> {
    match host::once::begin(key).map_err(|refusal| OnceError::Host(explain(key, refusal)))? {
        HostStep::Done(answer) => Ok(Step::Done(answer)),
        HostStep::Unknown => Ok(Step::Unknown),
        HostStep::Begun => {
            let answer = act().map_err(OnceError::Step)?;
            step::finish(key, &answer).map_err(OnceError::Host)?;
            Ok(Step::Done(answer))
        }
    }
}

/// For steps found [`Step::Unknown`].
pub mod step {
    use crate::host;

    /// Records the answer of a step (at most 64 KiB).
    pub fn finish(key: &str, answer: &[u8]) -> Result<(), String> {
        host::once::finish(key, answer).map_err(|refusal| super::explain(key, refusal))
    }
}

fn explain(key: &str, refusal: Refusal) -> String {
    let why = match refusal {
        Refusal::TooLarge => "the key is longer than 512 bytes or the answer longer than 64 KiB",
        Refusal::Quota => "more than 64 steps for one delivery",
        Refusal::Unavailable => "the store does not answer",
    };
    format!("step `{}`: {why}", key.chars().take(80).collect::<String>())
}

/// What the host did not take may be taken later; a step's own error has its own verdict.
impl<E: Into<Verdict>> From<OnceError<E>> for Verdict {
    fn from(error: OnceError<E>) -> Self {
        match error {
            OnceError::Host(why) => Self::retry(why),
            OnceError::Step(error) => error.into(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for OnceError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(why) => f.write_str(why),
            Self::Step(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Display + fmt::Debug> std::error::Error for OnceError<E> {}
