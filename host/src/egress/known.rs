//! What must not come back to a tenant: its credentials, and every token and assertion that was made for it and is still good.
//!
//! A token is made in one call and may come back in another one's answer, an installation's in the answer to another installation, a JWT in the
//! answer of the very endpoint that refused it. So what is made is noted before it leaves the house, for all calls of its tenant, until it
//! expires, and an answer is searched by what is known when it has come.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use super::{
    credential::Credential,
    grant::{Allowed, Reach},
    scrub::{Scrubber, Spellings},
};
use crate::{
    delivery::{TenantId, Timestamp},
    signature::Secret,
};

/// Live tokens and assertions of one tenant; no more are made then. A tenant of a thousand installations has a thousand an hour.
pub(super) const LIVE_MAX: usize = 4_096;
/// Tokens whose spellings are worked out anew with each new one; those before them wait in a larger set.
const FRESH_MAX: usize = 64;
/// How often what has expired is forgotten.
const FORGET_EVERY: Duration = Duration::from_mins(1);

/// What is known of every tenant; none waits for another's.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeMap<TenantId, Arc<Mutex<Of>>>>);

/// What is known of one.
#[derive(Debug, Default)]
struct Of {
    /// Of what `held` was made; it is made anew when the operator's file was read again.
    allowed: Weak<Allowed>,
    held: Arc<Spellings>,
    /// What was held before that, which may still be good where it was in use.
    before: Arc<Spellings>,
    /// In the order they were made, with the end of each.
    live: Vec<(Secret, Timestamp)>,
    /// Spellings of the first `settled` of them, and of the others.
    made: (Arc<Spellings>, Arc<Spellings>),
    settled: usize,
    forgot_at: Option<Timestamp>,
}

impl Known {
    /// Takes out of a text what is known at this moment.
    pub(super) fn scrubber(&self, reach: &Reach, now: Timestamp) -> Scrubber {
        let of = self.of(&reach.tenant);
        let mut of = of.lock().unwrap_or_else(PoisonError::into_inner);
        if Weak::as_ptr(&of.allowed) != Arc::as_ptr(&reach.allowed) {
            let held = Spellings::of(reach.allowed.credentials.values().flat_map(Credential::secrets));
            of.before = std::mem::replace(&mut of.held, Arc::new(held));
            of.allowed = Arc::downgrade(&reach.allowed);
        }
        of.forget_expired(now);
        Scrubber::new(vec![Arc::clone(&of.held), Arc::clone(&of.before), Arc::clone(&of.made.0), Arc::clone(&of.made.1)])
    }

    /// Notes what was made for a tenant and is good until then; false where the tenant has as much of it as it may.
    pub(super) fn note(&self, tenant: &TenantId, secret: &[u8], (until, now): (Timestamp, Timestamp)) -> bool {
        let Some(secret) = Secret::new(secret) else { return true };
        let of = self.of(tenant);
        let mut of = of.lock().unwrap_or_else(PoisonError::into_inner);
        of.forget_expired(now);
        if of.live.iter().any(|(live, _)| *live == secret) {
            return true;
        }
        if of.live.len() >= LIVE_MAX {
            return false;
        }
        of.live.push((secret, until));
        of.spell();
        true
    }

    fn of(&self, tenant: &TenantId) -> Arc<Mutex<Of>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(tenant.clone()).or_default())
    }
}

impl Of {
    fn forget_expired(&mut self, now: Timestamp) {
        if self.forgot_at.is_some_and(|forgot| now >= forgot && now < forgot.after(FORGET_EVERY)) {
            return;
        }
        self.forgot_at = Some(now);
        let had = self.live.len();
        self.live.retain(|(_, until)| *until > now);
        if self.live.len() != had {
            self.settled = 0;
            self.spell();
        }
    }

    fn spell(&mut self) {
        let spellings = |live: &[(Secret, Timestamp)]| Arc::new(Spellings::of(live.iter().map(|(secret, _)| secret.expose())));
        if self.live.len() - self.settled > FRESH_MAX || self.settled == 0 {
            self.settled = self.live.len();
            self.made = (spellings(&self.live), Arc::default());
        } else {
            self.made.1 = spellings(&self.live[self.settled..]);
        }
    }
}
