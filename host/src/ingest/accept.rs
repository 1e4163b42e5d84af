//! From a request to a receipt, in the one order that is safe.
//!
//! A stranger never reaches the store, a parse never precedes a signature check, a 2xx never precedes durability. The future of `accept` is
//! dropped by hyper when the client hangs up; up to the offer nothing is lost by that. The offer itself and the facts about it run in a task
//! of their own, which the drain waits for, so that what became durable is also counted.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::request;
use hyper::body::{Body as _, Incoming};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::{
    Inner, Settings,
    address::{Origin, Peer},
    budget::Budget,
    document::Fields,
    form,
    head::{self, Meta, Path, Shape},
    limits::{Limits, Sender},
    read::{Allowance, read},
    recipient::{Decoy, Recipient},
};
use crate::{
    broker::{Broker, Offer, OfferError},
    clock::Clock,
    delivery::{BodyEncoding, Delivery, DeliveryId, DeliveryKey, PluginName, Receipt, Refusal, SourceId, TenantId},
    listen::Place,
    observe::{
        Observer, Readiness,
        facts::{DeliveryAccepted, DeliveryDuplicate, DeliveryRefused},
    },
    shares::{Holder, Resource},
    tasks::Tasks,
    tenants::Tenants,
    text::beginning,
};

/// Of a stranger's path and of his delivery's id, so much is told.
const TOLD_BYTES_MAX: usize = 128;

/// A larger body is hashed and read on a thread that may block.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// Which plugins want a delivery: [`crate::catalog::Catalog::route`], and nothing else of the catalog.
pub(super) type Routes = Arc<dyn Fn(&TenantId, &SourceId, &str, Option<&str>) -> Vec<PluginName> + Send + Sync>;

/// One request at the door.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) head: request::Parts,
    pub(super) body: Incoming,
    pub(super) peer: Peer,
    /// The end of the head.
    pub(super) began: Instant,
    /// The connection's place.
    pub(super) place: Arc<Place>,
}

/// Takes calls in.
pub(super) struct Acceptor {
    settings: Settings,
    tenants: Tenants,
    routes: Routes,
    broker: Arc<dyn Broker>,
    observer: Observer,
    clock: Clock,
    readiness: Readiness,
    tasks: Tasks,
    limits: Limits,
    budget: Budget,
    decoy: Decoy,
}

/// The bytes of an authentic body.
struct Authentic {
    document: Bytes,
    raw: Option<Bytes>,
    body_sha256: [u8; 32],
}

impl Acceptor {
    pub(super) fn new(settings: Settings, parts: Inner, routes: Routes, tasks: Tasks) -> anyhow::Result<Self> {
        let Inner { tenants, broker, observer, clock, readiness, .. } = parts;
        let limits = Limits::new(&settings, &clock);
        let pool = settings.shares.pool(Resource::BodyBytes).clone();
        let budget = Budget::new(pool, settings.json_bytes_max.max(settings.form_bytes_max));
        Ok(Self { decoy: Decoy::new()?, settings, tenants, routes, broker, observer, clock, readiness, tasks, limits, budget })
    }

    /// Accepts or refuses a call, and sees to it that it is told.
    pub(super) async fn answer(&self, call: &mut Call) -> Result<Receipt, Refusal> {
        let result = self.accept(call).await;
        if let Err(refusal) = &result {
            let origin = Origin::of(call.peer, &call.head.headers, &self.settings.trusted_proxies);
            self.limits.refused(origin.client, refusal);
            self.tell_refused(call, refusal);
        }
        result
    }

    /// The order, word for word: see the module's head.
    async fn accept(&self, call: &mut Call) -> Result<Receipt, Refusal> {
        let deadline = call.began + self.settings.accept_timeout;
        self.is_ready()?; //                                                            can we keep anything at all
        let path = Path::parse(call.head.uri.path())?; //                               is there such a route
        let recipient = Recipient::find(path, &self.tenants, &self.decoy); //           for whom; unknown ones are not told apart
        let origin = Origin::of(call.peer, &call.head.headers, &self.settings.trusted_proxies);
        let shape = Shape::read(&call.head, call.body.size_hint().exact(), &self.settings)?;
        let signature = head::signature(&call.head.headers)?; //                        signed at all, else it is not read
        let sender = recipient.sender(origin.client);
        self.limits.admit(&sender)?; //                                                 may this address be read
        let mut hold = self.budget.hold(sender.clone(), self.limits.standing(&sender));
        let raw = read((&mut call.body, &call.place), self.allowance(&shape, deadline), &mut hold, &self.clock).await;
        let raw = recipient.verified(signature, raw).await; //                          is it authentic
        let raw = raw.inspect_err(|refusal| self.blame(&sender, refusal))?;
        recipient.admit_transport(origin)?; //                                          over https, where the source wants it
        self.limits.verified(&sender);
        let meta = Meta::read(&call.head.headers)?; //                                  only now is anything of it read
        let (authentic, fields) = self.document((&shape, deadline), raw, &sender.tenant).await?;
        if !fields.subjects.fits(&meta.event) {
            return Err(Refusal::EventMismatch); //                                      nobody signed the event's name
        }
        self.limits.admit_authentic(&sender.tenant, &recipient.source, fields.installation_id)?;
        let delivery = self.delivery(call, &sender, shape.encoding, (meta, fields, authentic));
        self.offer(recipient.offer(delivery, &self.routes), deadline, call.began).await //  durable, and only then a receipt
    }

    /// A call that came on a place that is there for probes; nothing of it is looked at.
    pub(super) fn turn_away(&self, call: &Call) -> Result<Receipt, Refusal> {
        let refusal = Refusal::ConnectionsExhausted;
        self.tell_refused(call, &refusal);
        Err(refusal)
    }

    /// What a body of this sender's name did; that there was no room for it is nobody's fault.
    fn blame(&self, sender: &Sender, refusal: &Refusal) {
        if *refusal != Refusal::BodyBudgetExhausted {
            self.limits.bad_body(sender);
        }
    }

    fn is_ready(&self) -> Result<(), Refusal> {
        if self.readiness.is_ready() { Ok(()) } else { Err(Refusal::NotReady) }
    }

    /// A body may take its own time, but never more than the whole accept has.
    fn allowance(&self, shape: &Shape, deadline: Instant) -> Allowance {
        let deadline = deadline.min(self.clock.instant() + self.settings.body_timeout);
        Allowance { bytes_max: shape.bytes_max, bytes_per_s_min: self.settings.body_bytes_per_s_min, deadline }
    }

    async fn document(&self, (shape, deadline): (&Shape, Instant), raw: Bytes, tenant: &TenantId) -> Result<(Authentic, Fields), Refusal> {
        let (encoding, bytes_max) = (shape.encoding, self.settings.json_bytes_max);
        self.aside((raw.len(), deadline), Holder::tenant(tenant), move || {
            let body_sha256 = Sha256::digest(&raw).into();
            let authentic = match encoding {
                BodyEncoding::Json => Authentic { document: raw, raw: None, body_sha256 },
                BodyEncoding::Form => Authentic { document: form::payload(&raw, bytes_max)?.into(), raw: Some(raw), body_sha256 },
            };
            let fields = Fields::read(&authentic.document)?;
            Ok((authentic, fields))
        })
        .await
    }

    /// Works on a body of so many bytes: a large one on a thread where it holds up nobody else's. Hashing 16 MiB takes some 10 ms.
    async fn aside<T: Send + 'static>(
        &self,
        (bytes, deadline): (usize, Instant),
        holder: Holder,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        if bytes <= INLINE_BYTES_MAX {
            return work();
        }
        let threads = self.settings.shares.threads(holder);
        tokio::select! {
            biased;
            done = threads.run(work) => done.unwrap_or(Err(Refusal::QueueUnavailable)),
            () = self.clock.sleep_until(deadline) => Err(Refusal::AcceptTimeout),
        }
    }

    fn delivery(&self, call: &Call, sender: &Sender, encoding: BodyEncoding, content: (Meta, Fields, Authentic)) -> Delivery {
        let (meta, fields, authentic) = content;
        let id = DeliveryId::derive(&DeliveryKey {
            tenant: &sender.tenant,
            source: &sender.source,
            hook_id: meta.hook_id.as_deref().unwrap_or_default(),
            provider_id: &meta.provider_id,
            body_sha256: &authentic.body_sha256,
        });
        Delivery {
            id,
            tenant: sender.tenant.clone(),
            source: sender.source.clone(),
            provider_id: meta.provider_id,
            hook_id: meta.hook_id,
            event: meta.event,
            action: fields.action,
            repository: fields.repository,
            installation_id: fields.installation_id,
            received_at: self.clock.now(),
            sequence: 0,
            encoding,
            headers: head::kept(&call.head.headers),
            document: authentic.document,
            raw: authentic.raw,
            body_sha256: authentic.body_sha256,
        }
    }

    /// Offers the delivery in a task of its own: a client that hangs up must not keep the fact of a commit from being told.
    async fn offer(&self, offer: Offer, deadline: Instant, began: Instant) -> Result<Receipt, Refusal> {
        let (broker, observer, clock) = (Arc::clone(&self.broker), self.observer.clone(), self.clock.clone());
        let (answer, answered) = oneshot::channel();
        self.tasks.spawn_brief(async move {
            let (tenant, source) = (offer.delivery.tenant.clone(), offer.delivery.source.clone());
            let provider_id = offer.delivery.provider_id.clone();
            let result = broker.offer(offer, deadline).await;
            let took = clock.instant().saturating_duration_since(began);
            match result.clone() {
                Ok(Receipt::Accepted { id, event, legs }) => {
                    observer.record(&DeliveryAccepted { id, provider_id, tenant, source, event, legs, took });
                }
                Ok(Receipt::Duplicate { id }) => observer.record(&DeliveryDuplicate { id, tenant, source, took }),
                // Told with all other refusals, in `answer`.
                Err(_) => {}
            }
            // Nobody listens where the client has hung up.
            let _ = answer.send(result);
        });
        // The task ends without an answer only by a panic, and then nobody knows what was kept.
        answered.await.unwrap_or(Err(OfferError::OutcomeUnknown)).map_err(|error| refusal(&error))
    }

    fn tell_refused(&self, call: &Call, refusal: &Refusal) {
        let known = Path::parse(call.head.uri.path()).ok().and_then(|path| Recipient::known(path, &self.tenants));
        let (tenant, source) = known.map(|(tenant, source)| (tenant.id.clone(), source.id.clone())).unzip();
        let took = self.clock.instant().saturating_duration_since(call.began);
        let client = Origin::of(call.peer, &call.head.headers, &self.settings.trusted_proxies).client.address();
        // Never the query: some put a secret there.
        let path = beginning(call.head.uri.path().as_bytes(), TOLD_BYTES_MAX);
        let provider_id = call.head.headers.get(head::PROVIDER_ID).map(|id| beginning(id.as_bytes(), TOLD_BYTES_MAX));
        self.observer.record(&DeliveryRefused { code: refusal.slug(), tenant, source, path, client, provider_id, took });
    }
}

fn refusal(error: &OfferError) -> Refusal {
    match error {
        OfferError::TimedOut => Refusal::AcceptTimeout,
        OfferError::OutcomeUnknown => Refusal::OutcomeUnknown,
        OfferError::Replayed => Refusal::BodyReplayed,
        OfferError::TenantQuota => Refusal::TenantQuotaExceeded,
        OfferError::TenantStorage => Refusal::TenantStorageFull,
        OfferError::TooBig { bytes_max } => Refusal::BodyTooLarge { bytes_max: *bytes_max },
        OfferError::StorageFull => Refusal::StorageFull,
        OfferError::Unavailable => Refusal::QueueUnavailable,
    }
}
