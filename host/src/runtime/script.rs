//! An outside that is written down beforehand: what the store holds, which requests are expected, and what each is answered.
//!
//! A scripted run is judged by the same grants as a live one, with those of the manifest taken as granted by the tenant, so that what passes
//! here is not denied there for want of a grant. Requests are answered in their order and by nobody outside.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::mpsc,
};

use super::reach::NO_WAY_OUT;
use crate::egress::{Egress, Reach, Request, Response, SendError};

/// What a run finds outside and is answered.
#[derive(Clone, Debug)]
pub struct Script {
    /// What `kv` begins with.
    pub kv: BTreeMap<String, Vec<u8>>,
    /// What earlier runs did of `once`: an answer, or none where a step was begun and never finished.
    pub steps: BTreeMap<String, Option<Vec<u8>>>,
    /// What the run may send and which keys it may use.
    pub reach: Reach,
    /// The requests that are expected, in order; where there is no list, none is answered.
    pub exchanges: Option<VecDeque<Exchange>>,
    /// Is told every request that was granted, as it would have been sent.
    pub sent: mpsc::Sender<Request>,
}

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// `GET`, `POST`, …
    pub method: String,
    /// The URL as the guest says it: empty where the credential is one.
    pub url: String,
    /// What it is answered.
    pub answer: Result<Response, SendError>,
}

impl Script {
    /// The answer to the next request.
    pub(super) fn answer(&mut self, request: Request) -> Result<Response, SendError> {
        Egress::judge(&self.reach, &request)?;
        let next = self.exchanges.as_mut().map(VecDeque::pop_front);
        let answer = match next {
            None => Err(SendError::Unavailable(NO_WAY_OUT.to_owned())),
            Some(Some(next)) if next.method == request.method && next.url == request.url => next.answer,
            Some(Some(next)) => Err(SendError::Unavailable(format!("the script expects {} {} here", next.method, next.url))),
            Some(None) => Err(SendError::Unavailable("the script expects no further request".to_owned())),
        };
        // Who does not listen any more does not want to know.
        self.sent.send(request).ok();
        answer
    }
}
