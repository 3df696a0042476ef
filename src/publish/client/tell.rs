//! What the publisher's thread tells of itself: log lines, reports, counters.

use super::Shell;
use crate::publish::types::{OutboxError, Report};

impl Shell {
    pub(super) fn note_outbox(&mut self, error: Option<OutboxError>) {
        match error {
            Some(error) if !self.outbox_failed => {
                tracing::error!(%error, "the journal cannot be read for delivery, trying on");
                self.outbox_failed = true;
                self.shared.health().last_error = error.to_string();
            }
            Some(_) => {}
            None => self.outbox_failed = false,
        }
    }

    /// A refusal is told once for each topic and reason, not at every try.
    pub(super) fn report_once(&mut self, report: Report) {
        if let Report::PublishRefused { topic, reason } = report
            && self.refusals.insert(topic, reason) == Some(reason)
        {
            return;
        }
        self.report(report);
    }

    pub(super) fn report(&self, report: Report) {
        match &report {
            Report::Undeliverable { row, mask, bytes, bytes_max } => tracing::error!(
                row,
                mask,
                bytes,
                bytes_max,
                "a message is too large to be sent and was skipped"
            ),
            Report::TooLarge { topic, bytes, bytes_max } => tracing::error!(
                topic,
                bytes,
                bytes_max,
                "this is too large to be sent and is left out as long as it is: raise the \
                 broker's limit on packets"
            ),
            Report::TakeoverSuspected { times } => tracing::error!(
                times, client_id = %self.settings.client_id,
                "the broker cuts us off right after connecting: does another client use this \
                 client id?"),
            Report::PublishRefused { topic, reason } => tracing::error!(
                topic,
                reason,
                "the broker refuses our messages: allow this topic in its access list"
            ),
            Report::CommandOverrun { bytes } => tracing::error!(
                bytes,
                "a message on our command topics is so large that it broke the connection: find \
                 who sends it, and whether the broker retains it; nothing is heard for a minute"
            ),
            Report::Replayed { range, rows } => tracing::info!(
                command = range.id,
                epoch = range.epoch,
                first = range.first,
                last = range.last,
                rows,
                "verdicts sent again as asked"
            ),
            Report::SubscriptionRefused { topic } => tracing::error!(
                topic,
                "the broker does not let us listen: allow this topic in its access list"
            ),
        }
        if self.reports.try_send(report).is_err() {
            tracing::warn!("nobody takes the publisher's reports; this one is only logged");
        }
    }

    pub(super) fn tell_health(&self) {
        let counters = self.session.counters();
        let mut health = self.shared.health();
        health.connected = self.session.is_up();
        health.published = counters.published;
        health.acked = counters.acked;
        health.in_flight = u32::try_from(self.session.in_flight()).unwrap_or(u32::MAX);
        health.reconnects = counters.connections.saturating_sub(1);
        health.late = counters.late;
        health.backlog_rows = self.outbox.newest().saturating_sub(self.session.cursor());
        health.undeliverable = counters.undeliverable;
        health.notifications_dropped = counters.crowded_out;
        health.replies_dropped = counters.replies_dropped;
        health.cursor = self.session.cursor();
    }
}
