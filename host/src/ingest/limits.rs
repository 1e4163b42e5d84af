//! Who may send how much. Failures are charged, not calls: a flood of bad signatures from an address that GitHub uses too costs its strangers
//! their turn, while senders that verified lately from there are still read.

use std::time::Duration;

use super::{Settings, address::Client, budget::Standing};
use crate::{
    clock::Clock,
    delivery::{Refusal, SourceId, TenantId},
    meter::{Lately, Meter, Rate},
    tenants::Source,
};

/// How long a sender counts as known after a signature of its was right.
const KNOWN_FOR: Duration = Duration::from_hours(1);

/// Bad bodies a minute under a known sender's name, beyond which it is a suspect; a provider makes such mistakes one by one.
const SUSPECT_AFTER: u32 = 8;

/// A source at an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) tenant: TenantId,
    pub(super) source: SourceId,
}

/// The meters of the door.
#[derive(Debug)]
pub(super) struct Limits {
    failures_rate: Rate,
    address_rate: Rate,
    failures: Meter<Client>,
    addresses: Meter<Client>,
    sources: Meter<(TenantId, SourceId)>,
    installations: Meter<(TenantId, SourceId, u64)>,
    known: Lately<Sender>,
    bad_bodies: Meter<Sender>,
}

impl Limits {
    pub(super) fn new(settings: &Settings, clock: &Clock) -> Self {
        Self {
            failures_rate: Rate::per_minute(settings.address_failures_per_min_max),
            address_rate: Rate::per_second(settings.address_rate_per_s_max),
            failures: Meter::new(clock.clone()),
            addresses: Meter::new(clock.clone()),
            sources: Meter::new(clock.clone()),
            installations: Meter::new(clock.clone()),
            known: Lately::new(clock.clone(), KNOWN_FOR),
            bad_bodies: Meter::new(clock.clone()),
        }
    }

    /// What calls of this sender have proved lately.
    pub(super) fn standing(&self, sender: &Sender) -> Standing {
        if !self.known.holds(sender) {
            Standing::Stranger
        } else if self.bad_bodies.peek(sender, Rate::per_minute(SUSPECT_AFTER)).is_err() {
            Standing::Suspect
        } else {
            Standing::Known
        }
    }

    /// May a call of this sender be read?
    pub(super) fn admit(&self, sender: &Sender) -> Result<(), Refusal> {
        if !self.known.holds(sender) {
            self.failures.peek(&sender.client, self.failures_rate).map_err(|retry_after| Refusal::TooManyFailures { retry_after })?;
        }
        self.addresses.charge(sender.client, self.address_rate).map_err(|retry_after| Refusal::RateLimited { retry_after })
    }

    /// A signature of this sender was right.
    pub(super) fn verified(&self, sender: &Sender) {
        self.known.note(sender.clone());
    }

    /// A body under this sender's name was bad or did not come to its end.
    pub(super) fn bad_body(&self, sender: &Sender) {
        if self.known.holds(sender) {
            // One that used all of them up is a suspect from now on; there is nothing more to take.
            let _ = self.bad_bodies.charge(sender.clone(), Rate::per_minute(SUSPECT_AFTER));
        }
    }

    /// A call was refused; what only a stranger does is charged to its address.
    pub(super) fn refused(&self, client: Client, refusal: &Refusal) {
        let charged = matches!(
            refusal,
            Refusal::SignatureMissing
                | Refusal::SignatureMalformed
                | Refusal::SignatureMismatch
                | Refusal::BodyTooLarge { .. }
                | Refusal::BodyTimeout
                | Refusal::BodyIncomplete
        );
        if charged {
            // An address that used all its failures up is refused by `admit` from now on; there is nothing more to take.
            let _ = self.failures.charge(client, self.failures_rate);
        }
    }

    /// May the source, and the installation of it, send one more authentic delivery now?
    pub(super) fn admit_authentic(&self, tenant: &TenantId, source: &Source, installation: Option<u64>) -> Result<(), Refusal> {
        let limited = |retry_after| Refusal::RateLimited { retry_after };
        let key = (tenant.clone(), source.id.clone());
        self.sources.charge(key, Rate::per_second(source.rate_per_s_max)).map_err(limited)?;
        let Some(installation) = installation else { return Ok(()) };
        let key = (tenant.clone(), source.id.clone(), installation);
        self.installations.charge(key, Rate::per_second(source.installation_rate_per_s_max)).map_err(limited)
    }
}
