//! The answers a past run got, to be given again.
//!
//! A run is a function of its component, configuration, delivery, attempt and of what its host calls were answered. The first four are stored
//! with the delivery, the answers with the attempt; given again in their order they make the same run. A candidate that asks for something
//! else finds no answer here and is told so: nothing is made up, and nothing outside is asked.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    delivery::{
        Digest, TenantId,
        view::{HostCall, Recorded},
    },
    egress::SendError,
};

/// What a call asked, exactly and in short.
#[derive(Debug)]
pub(super) struct Question {
    /// `kv.get`, `http.send`, …
    pub(super) call: &'static str,
    /// The arguments for people.
    pub(super) shown: String,
    /// A digest of the exact arguments.
    pub(super) digest: String,
}

/// The recorded answers of one run of one tenant.
#[derive(Clone, Debug)]
pub struct Recording {
    tenant: TenantId,
    answers: BTreeMap<(String, String), VecDeque<Recorded>>,
}

impl Question {
    /// A call that is only told of: a replay answers it like any run.
    pub(super) fn told(call: &'static str, shown: String) -> Self {
        Self { call, shown, digest: String::new() }
    }

    /// A call with its exact arguments.
    pub(super) fn new(call: &'static str, shown: String, exact: &[&[u8]]) -> Self {
        // 64 bits tell the calls of one run apart.
        let digest = Digest::of(exact).as_bytes().iter().take(8).fold(0_u64, |digits, byte| (digits << 8) | u64::from(*byte));
        Self { call, shown, digest: format!("{digest:016x}") }
    }
}

impl Recording {
    /// The answers in these calls, of a run of `tenant`.
    #[must_use]
    pub fn of(tenant: TenantId, calls: &[HostCall]) -> Self {
        let mut answers: BTreeMap<_, VecDeque<Recorded>> = BTreeMap::new();
        for call in calls {
            if let Some(recorded) = &call.recorded {
                answers.entry((call.call.clone(), call.input_digest.clone())).or_default().push_back(recorded.clone());
            }
        }
        Self { tenant, answers }
    }

    /// Whose run it was: no other tenant's delivery is replayed with it.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The next answer to this question.
    pub(super) fn next(&mut self, question: &Question) -> Option<Recorded> {
        self.answers.get_mut(&(question.call.to_owned(), question.digest.clone()))?.pop_front()
    }
}

/// An error of a request as it is recorded.
pub(super) fn failure(error: &SendError) -> Recorded {
    let (code, detail) = match error {
        SendError::Denied(why) => ("Denied", why.clone()),
        SendError::Timeout => ("Timeout", String::new()),
        SendError::TooLarge => ("TooLarge", String::new()),
        SendError::Unavailable(why) | SendError::Unreachable(why) => ("Unavailable", why.clone()),
    };
    Recorded::Failed { code: code.to_owned(), detail }
}

/// The error that was recorded; what is no recorded error at all is an answer nobody has.
pub(super) fn error_of(recorded: Option<Recorded>) -> SendError {
    match recorded {
        Some(Recorded::Failed { code, detail }) => match code.as_str() {
            "Denied" => SendError::Denied(detail),
            "Timeout" => SendError::Timeout,
            "TooLarge" => SendError::TooLarge,
            _ => SendError::Unavailable(detail),
        },
        _ => SendError::Unavailable(
            "the recording has no answer to this: the past run did not ask it, or the answer was too long to be kept".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(question: &Question, recorded: Option<Recorded>) -> HostCall {
        HostCall { call: question.call.to_owned(), input_digest: question.digest.clone(), recorded, ..HostCall::default() }
    }

    #[test]
    fn answers_come_in_their_order_to_the_question_they_answered() {
        let (a, b) = (Question::new("kv.get", "a".into(), &[b"a"]), Question::new("kv.get", "b".into(), &[b"b"]));
        let value = |text: &str| Some(Recorded::Value(Some(text.as_bytes().to_vec().into())));
        let calls = [call(&a, value("1")), call(&b, value("2")), call(&a, None), call(&a, value("3"))];
        let mut recording = Recording::of(TenantId::default_tenant(), &calls);
        assert_eq!(recording.next(&b), value("2"));
        assert_eq!((recording.next(&a), recording.next(&a), recording.next(&a)), (value("1"), value("3"), None));
        assert_eq!(recording.next(&Question::new("once.begin", "a".into(), &[b"a"])), None);
    }

    #[test]
    fn arguments_that_only_look_the_same_together_are_told_apart() {
        let digest = |exact: &[&[u8]]| Question::new("http.send", String::new(), exact).digest;
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_eq!(digest(&[b"ab"]).len(), 16);
    }

    #[test]
    fn an_error_is_recorded_and_read_back_as_itself() {
        for error in [SendError::Denied("why".into()), SendError::Timeout, SendError::TooLarge, SendError::Unavailable("why".into())] {
            assert_eq!(error_of(Some(failure(&error))), error);
        }
        assert!(error_of(None).to_string().contains("no answer"));
    }
}
