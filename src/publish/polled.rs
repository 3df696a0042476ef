//! A task that polls one connection of the client library, and the events it tells.
//!
//! Everything that takes time happens in the task; whoever waits for its events may stop waiting at
//! any point and loses nothing.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A polled connection with events of its own kind.
#[derive(Debug)]
pub(super) struct Polled<E> {
    task: JoinHandle<()>,
    events: mpsc::Receiver<E>,
}

impl<E> Drop for Polled<E> {
    fn drop(&mut self) {
        // Closes the socket without DISCONNECT: the broker publishes our last will.
        self.task.abort();
    }
}

impl<E: Send + 'static> Polled<E> {
    /// Starts `drive` with the sending end; the task waits when `events_max` events wait. Must be
    /// called inside the runtime.
    pub(super) fn start<F>(events_max: usize, drive: impl FnOnce(mpsc::Sender<E>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, events) = mpsc::channel(events_max);
        Self { task: tokio::spawn(drive(sender)), events }
    }

    /// A connection that cannot even be begun: `event` is all it tells.
    pub(super) fn failed(event: E) -> Self {
        // Nobody to tell means that nobody waits.
        Self::start(1, |sender| async move { drop(sender.send(event).await) })
    }

    /// The next event; `None` when the task has ended.
    pub(super) async fn event(&mut self) -> Option<E> {
        self.events.recv().await
    }

    /// The next event if it is there.
    pub(super) fn try_event(&mut self) -> Option<E> {
        self.events.try_recv().ok()
    }
}
