//! How each fact is told: its metric, its line, its live event. Field names carry their unit; `docs/logging.md` is the law.

use std::time::Duration;

use serde_json::json;

use super::{
    AdminTokenRefused, AttemptFinished, DeliveryAccepted, DeliveryDuplicate, DeliveryRefused, PluginBreaker, PluginRefused, PluginRemoved,
    PluginRolledBack, PluginSwapped, SettingsReloaded, SettlementVoid, UpstreamCircuit,
};
use crate::observe::{Fact, Fields, Metrics, labels::PluginLabels};

impl Fact for DeliveryAccepted {
    fn kind(&self) -> &'static str {
        "delivery_accepted"
    }

    fn count(&self, metrics: &Metrics) {
        metrics.delivery(Some(&self.tenant), Some(&self.source), "accepted");
        metrics.accepted_in(self.took);
    }

    fn log(&self) {
        tracing::info!(
            delivery_id = %self.id, provider_delivery_id = self.provider_id.as_str(), tenant = %self.tenant, source = %self.source,
            event = self.event.as_str(), legs = self.legs, duration_ms = ms(self.took), "delivery_accepted"
        );
    }

    fn fields(&self) -> Fields {
        Fields::from([
            ("delivery_id", json!(self.id)),
            ("provider_delivery_id", json!(self.provider_id)),
            ("tenant", json!(self.tenant)),
            ("source", json!(self.source)),
            ("event", json!(self.event)),
            ("legs", json!(self.legs)),
            ("duration_ms", json!(ms(self.took))),
        ])
    }
}

impl Fact for DeliveryDuplicate {
    fn kind(&self) -> &'static str {
        "delivery_duplicate"
    }

    fn count(&self, metrics: &Metrics) {
        metrics.delivery(Some(&self.tenant), Some(&self.source), "duplicate");
        metrics.accepted_in(self.took);
    }

    fn log(&self) {
        tracing::info!(
            delivery_id = %self.id, tenant = %self.tenant, source = %self.source, duration_ms = ms(self.took), "delivery_duplicate"
        );
    }

    fn fields(&self) -> Fields {
        Fields::from([
            ("delivery_id", json!(self.id)),
            ("tenant", json!(self.tenant)),
            ("source", json!(self.source)),
            ("duration_ms", json!(ms(self.took))),
        ])
    }
}

impl Fact for DeliveryRefused {
    fn kind(&self) -> &'static str {
        "delivery_refused"
    }

    fn count(&self, metrics: &Metrics) {
        metrics.delivery(self.tenant.as_ref(), self.source.as_ref(), self.code);
    }

    fn log(&self) {
        let (tenant, source) = (self.tenant.as_ref().map(tracing::field::display), self.source.as_ref().map(tracing::field::display));
        tracing::warn!(
            code = self.code, tenant, source, path = self.path.as_str(), client = %self.client,
            provider_delivery_id = self.provider_id.as_deref(), duration_ms = ms(self.took), "delivery_refused"
        );
    }

    fn fields(&self) -> Fields {
        Fields::from([
            ("code", json!(self.code)),
            ("tenant", json!(self.tenant)),
            ("source", json!(self.source)),
            ("path", json!(self.path)),
            ("client", json!(self.client)),
            ("provider_delivery_id", json!(self.provider_id)),
            ("duration_ms", json!(ms(self.took))),
        ])
    }

    fn is_sampled(&self) -> bool {
        true
    }
}

impl Fact for AdminTokenRefused {
    fn kind(&self) -> &'static str {
        "admin_token_refused"
    }

    /// Each call is counted where it is refused; this is said of many of them.
    fn count(&self, _metrics: &Metrics) {}

    fn log(&self) {
        tracing::warn!(address = %self.address, "admin_token_refused");
    }

    fn fields(&self) -> Fields {
        Fields::from([("address", json!(self.address))])
    }

    fn is_sampled(&self) -> bool {
        true
    }
}

impl Fact for AttemptFinished {
    fn kind(&self) -> &'static str {
        "attempt_finished"
    }

    fn count(&self, metrics: &Metrics) {
        let plugin = PluginLabels { tenant: self.tenant.clone(), plugin: self.leg.plugin.clone() };
        metrics.attempt(&plugin, self.outcome, self.settlement);
        // Where no version ran there is no time and no fuel; zeros would pull both histograms down.
        if self.digest.is_some() {
            metrics.run(&plugin, self.took, self.fuel);
        }
        if let Some(age) = self.age {
            metrics.settled_at_age(&plugin, age);
        }
        for tally in &self.host_calls {
            metrics.host_calls(&tally.call, tally.result, tally.count);
        }
    }

    fn log(&self) {
        let digest = self.digest.as_ref().map(tracing::field::display);
        tracing::info!(
            leg_id = %self.leg, tenant = %self.tenant, source = %self.source, plugin = %self.leg.plugin, event = self.event.as_str(),
            attempt = self.attempt, outcome = self.outcome, settlement = self.settlement, detail = self.detail.as_str(), digest,
            fuel = self.fuel, memory_peak_bytes = self.memory_peak_bytes, duration_ms = ms(self.took), age_ms = self.age.map(ms),
            "attempt_finished"
        );
    }

    fn fields(&self) -> Fields {
        Fields::from([
            ("delivery_id", json!(self.leg.delivery)),
            ("leg_id", json!(self.leg.to_string())),
            ("tenant", json!(self.tenant)),
            ("source", json!(self.source)),
            ("plugin", json!(self.leg.plugin)),
            ("event", json!(self.event)),
            ("attempt", json!(self.attempt)),
            ("outcome", json!(self.outcome)),
            ("settlement", json!(self.settlement)),
            ("detail", json!(self.detail)),
            ("digest", json!(self.digest.map(|digest| digest.to_string()))),
            ("fuel", json!(self.fuel)),
            ("memory_peak_bytes", json!(self.memory_peak_bytes)),
            ("duration_ms", json!(ms(self.took))),
            ("age_ms", json!(self.age.map(ms))),
        ])
    }
}

impl Fact for SettlementVoid {
    fn kind(&self) -> &'static str {
        "settlement_void"
    }

    fn count(&self, metrics: &Metrics) {
        metrics.settlement_void(self.cause);
    }

    fn log(&self) {
        tracing::warn!(
            leg_id = %self.leg, tenant = %self.tenant, attempt = self.attempt, cause = self.cause, detail = self.detail.as_str(),
            "settlement_void"
        );
    }

    fn fields(&self) -> Fields {
        Fields::from([
            ("leg_id", json!(self.leg.to_string())),
            ("tenant", json!(self.tenant)),
            ("attempt", json!(self.attempt)),
            ("cause", json!(self.cause)),
            ("detail", json!(self.detail)),
        ])
    }
}

impl Fact for PluginSwapped {
    fn kind(&self) -> &'static str {
        "plugin_swapped"
    }

    fn count(&self, metrics: &Metrics) {
        metrics.plugin_swap("swapped");
        metrics.serves(&self.tenant, &self.plugin, Some(self.digest));
    }

    fn log(&self) {
        let before = self.before.as_ref().map(tracing::field::display);
        tracing::info!(
            tenant = %self.tenant, plugin = %self.plugin, digest = %self.digest, before, duration_ms = ms(self.took), "plugin_swapped"
        );
    }

    fn fields(&self) -> Fields {
        Fields::from([
            ("tenant", json!(self.tenant)),
            ("plugin", json!(self.plugin)),
            ("digest", json!(self.digest.to_string())),
            ("before", json!(self.before.map(|digest| digest.to_string()))),
            ("duration_ms", json!(ms(self.took))),
        ])
    }
}

impl Fact for PluginRolledBack {
    fn kind(&self) -> &'static str {
        "plugin_rolled_back"
    }

    fn count(&self, metrics: &Metrics) {
        metrics.plugin_swap("rolled_back");
        metrics.serves(&self.tenant, &self.plugin, Some(self.to));
    }

    fn log(&self) {
        let before = self.from.as_ref().map(tracing::field::display);
        tracing::warn!(
            tenant = %self.tenant, plugin = %self.plugin, digest = %self.to, before, cause = self.cause, requeued = self.refund.requeued,
            refunded = self.refund.refunded, reason = self.reason.as_str(), "plugin_rolled_back"
        );
    }

    fn fields(&self) -> Fields {
        Fields::from([
            ("tenant", json!(self.tenant)),
            ("plugin", json!(self.plugin)),
            ("digest", json!(self.to.to_string())),
            ("before", json!(self.from.map(|digest| digest.to_string()))),
            ("cause", json!(self.cause)),
            ("requeued", json!(self.refund.requeued)),
            ("refunded", json!(self.refund.refunded)),
            ("reason", json!(self.reason)),
        ])
    }
}

impl Fact for PluginBreaker {
    fn kind(&self) -> &'static str {
        "plugin_breaker"
    }

    fn count(&self, metrics: &Metrics) {
        metrics.breaker_move(self.state);
    }

    fn log(&self) {
        tracing::warn!(
            tenant = %self.tenant, plugin = %self.plugin, digest = %self.digest, state = self.state, faults = self.faults, "plugin_breaker"
        );
    }

    fn fields(&self) -> Fields {
        Fields::from([
            ("tenant", json!(self.tenant)),
            ("plugin", json!(self.plugin)),
            ("digest", json!(self.digest.to_string())),
            ("state", json!(self.state)),
            ("faults", json!(self.faults)),
        ])
    }
}

impl Fact for UpstreamCircuit {
    fn kind(&self) -> &'static str {
        "upstream_circuit"
    }

    fn count(&self, metrics: &Metrics) {
        metrics.circuit_move(self.state);
    }

    fn log(&self) {
        tracing::warn!(tenant = %self.tenant, destination = %self.destination, state = self.state, "upstream_circuit");
    }

    fn fields(&self) -> Fields {
        Fields::from([("tenant", json!(self.tenant)), ("destination", json!(self.destination.to_string())), ("state", json!(self.state))])
    }
}

impl Fact for PluginRefused {
    fn kind(&self) -> &'static str {
        "plugin_refused"
    }

    fn count(&self, metrics: &Metrics) {
        metrics.plugin_swap("refused");
    }

    fn log(&self) {
        tracing::warn!(tenant = %self.tenant, plugin = %self.plugin, code = self.code, reason = self.reason.as_str(), "plugin_refused");
    }

    fn fields(&self) -> Fields {
        Fields::from([
            ("tenant", json!(self.tenant)),
            ("plugin", json!(self.plugin)),
            ("code", json!(self.code)),
            ("reason", json!(self.reason)),
        ])
    }
}

impl Fact for PluginRemoved {
    fn kind(&self) -> &'static str {
        "plugin_removed"
    }

    fn count(&self, metrics: &Metrics) {
        metrics.plugin_swap("removed");
        metrics.serves(&self.tenant, &self.plugin, None);
    }

    fn log(&self) {
        tracing::info!(tenant = %self.tenant, plugin = %self.plugin, "plugin_removed");
    }

    fn fields(&self) -> Fields {
        Fields::from([("tenant", json!(self.tenant)), ("plugin", json!(self.plugin))])
    }
}

impl Fact for SettingsReloaded {
    fn kind(&self) -> &'static str {
        "settings_reloaded"
    }

    fn count(&self, metrics: &Metrics) {
        metrics.settings_reload(if self.problems.is_empty() { "taken" } else { "refused" });
    }

    fn log(&self) {
        let [taken, restart, detail] = [&self.taken, &self.restart, &self.problems].map(|words| words.join("; "));
        let (taken, restart) = (taken.as_str(), restart.as_str());
        if self.problems.is_empty() {
            tracing::info!(problems = 0, taken, restart, "settings_reloaded");
        } else {
            tracing::warn!(problems = self.problems.len(), detail = detail.as_str(), taken, restart, "settings_reloaded");
        }
    }

    fn fields(&self) -> Fields {
        Fields::from([("problems", json!(self.problems)), ("taken", json!(self.taken)), ("restart", json!(self.restart))])
    }
}

/// Milliseconds with three decimals: microseconds are what a run is measured in.
fn ms(span: Duration) -> f64 {
    (span.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
