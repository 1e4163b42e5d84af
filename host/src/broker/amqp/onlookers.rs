//! The exchanges that others bind their own queues to, apart from everything plugins' legs go through: what an onlooker binds, fills or deletes
//! touches no leg.

use std::{future::Future, pin::Pin, sync::Arc, task::Poll};

use lapin::{Channel, ExchangeKind, options::ExchangeDeclareOptions, types::FieldTable};

use super::{
    link::within,
    publisher::{Message, Prepare, Published, Publisher},
};

/// The topic exchange of accepted deliveries.
pub const EVENTS: &str = "hookyard.events";
/// The topic exchange of what plugins emit.
pub const EMITS: &str = "hookyard.emits";

/// Declares a durable topic exchange.
#[must_use]
pub fn topic_exchange(name: &'static str) -> Prepare {
    Arc::new(move |channel: Channel| {
        Box::pin(async move {
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let declared = channel.exchange_declare(name.into(), ExchangeKind::Topic, options, FieldTable::default());
            within("declaring the exchange", declared).await
        })
    })
}

impl Publisher {
    /// Publishes all of them, in order, and waits for every confirm. What is told stands at the place of its message.
    pub async fn publish_all(&self, messages: Vec<Message>) -> Vec<Published> {
        type Publishing<'a> = Pin<Box<dyn Future<Output = Published> + Send + 'a>>;
        // Polled for the first time in order, which is the order they come to the owner in.
        let mut publishing: Vec<(Option<Published>, Publishing<'_>)> =
            messages.into_iter().map(|message| (None, Box::pin(self.publish(message)) as Publishing<'_>)).collect();
        std::future::poll_fn(|context| {
            let mut is_done = true;
            for (published, publishing) in &mut publishing {
                if published.is_none() {
                    match publishing.as_mut().poll(context) {
                        Poll::Ready(told) => *published = Some(told),
                        Poll::Pending => is_done = false,
                    }
                }
            }
            if is_done { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        publishing.into_iter().filter_map(|(published, _)| published).collect()
    }
}
