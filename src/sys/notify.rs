//! The service manager: ready, status, watchdog, stopping.
//!
//! Outside systemd (no `NOTIFY_SOCKET`) every call does nothing. A failed message is logged and
//! never stops the station: inspection matters more than its report.

use std::time::Duration;

use sd_notify::NotifyState;

/// Pings per watchdog period: two, so that one late ping does not restart the station
/// (`sd_watchdog_enabled(3)` advises half the period).
const PINGS_PER_PERIOD: u32 = 2;

/// Handle to the service manager.
#[derive(Clone, Copy, Debug)]
pub struct Notify {
    present: bool,
    watchdog: Option<Duration>,
}

impl Notify {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_env() -> Self {
        let present = std::env::var_os("NOTIFY_SOCKET").is_some();
        let watchdog = sd_notify::watchdog_enabled().filter(|d| present && !d.is_zero());
        Self { present, watchdog }
    }

    /// A handle that does nothing: tests, one-shot commands.
    pub fn silent() -> Self {
        Self { present: false, watchdog: None }
    }

    /// How often [`Self::ping`] must be called; `None` when nobody watches.
    pub fn ping_interval(&self) -> Option<Duration> {
        self.watchdog.map(|period| period / PINGS_PER_PERIOD)
    }

    /// The station is ready; `status` is shown by `systemctl status`.
    pub fn ready(&self, status: &str) {
        self.send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send(&[NotifyState::Status(&one_line(status))]);
    }

    /// Start or stop goes on for `at_most` from now, whatever the service manager's limit is.
    pub fn extend(&self, at_most: Duration) {
        let us = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
        self.send(&[NotifyState::ExtendTimeoutUsec(us)]);
    }

    /// Tells the watchdog that work went on. Call it from proven progress only, never from a
    /// timer: a timer pings on while the station hangs.
    pub fn ping(&self) {
        if self.watchdog.is_some() {
            self.send(&[NotifyState::Watchdog]);
        }
    }

    /// The staged shutdown has begun.
    pub fn stopping(&self, status: &str) {
        self.send(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))]);
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        if !self.present {
            return;
        }
        if let Err(error) = sd_notify::notify(states) {
            tracing::warn!(%error, "service manager not reached; status and watchdog are not told");
        }
    }
}

/// A line break would begin a new variable of the notify protocol.
fn one_line(status: &str) -> String {
    status.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    // The real protocol is tested in tests/systemd.rs with a process of its own: environment
    // variables of this process cannot be changed safely while tests run in threads.

    #[test]
    fn outside_systemd_nothing_is_sent_and_nothing_watches() {
        let notify = Notify::silent();
        notify.ready("ready");
        notify.ping();
        notify.stopping("bye");
        assert_eq!(notify.ping_interval(), None);
    }

    #[test]
    fn a_status_cannot_smuggle_in_another_variable() {
        assert_eq!(one_line("a\nREADY=1\r\nb"), "a READY=1  b");
    }

    #[test]
    fn pings_are_due_twice_a_period() {
        let notify = Notify { present: true, watchdog: Some(Duration::from_secs(10)) };
        assert_eq!(notify.ping_interval(), Some(Duration::from_secs(5)));
    }
}
