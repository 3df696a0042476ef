//! A seat beside the line: who wants to see decisions without standing in their way.

use super::work::Decision;

/// Told of every decision after it is in the journal, in order, on the journal thread. It must
/// return soon: the next commit waits for it.
pub trait Observer: Send {
    /// A decision that is journaled and on its way to the broker.
    fn decided(&mut self, decision: &Decision);
}

impl<F: FnMut(&Decision) + Send> Observer for F {
    fn decided(&mut self, decision: &Decision) {
        self(decision);
    }
}
