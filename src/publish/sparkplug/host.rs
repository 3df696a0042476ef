//! The primary host's word: its retained STATE message, in the form of Sparkplug 3.0.

use serde::Deserialize;

/// A STATE payload; keys that later versions may add are let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
struct State {
    online: bool,
    /// UTC in milliseconds of the host's CONNECT; the only order there is between messages.
    timestamp: u64,
}

/// What a STATE message means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Online,
    Offline,
    /// Older than what is known, or not a STATE payload: nothing changes.
    Ignored,
}

/// What is known of the primary host.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    online: bool,
    /// Newest timestamp seen. Kept over connections: a will that was delayed stays old.
    newest: Option<u64>,
    /// Timestamp of the newest `online`.
    online_since: Option<u64>,
}

impl Host {
    pub(super) fn is_online(&self) -> bool {
        self.online
    }

    /// The connection is gone; the retained message of the next one says what holds then.
    pub(super) fn forget(&mut self) {
        self.online = false;
    }

    pub(super) fn told(&mut self, payload: &[u8]) -> Word {
        let Ok(state) = serde_json::from_slice::<State>(payload) else { return Word::Ignored };
        let known = if state.online { self.newest } else { self.online_since };
        if known.is_some_and(|known| state.timestamp < known) {
            return Word::Ignored;
        }
        self.newest = self.newest.max(Some(state.timestamp));
        self.online = state.online;
        match state.online {
            true => {
                self.online_since = Some(state.timestamp);
                Word::Online
            }
            false => Word::Offline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(online: bool, timestamp: u64) -> Vec<u8> {
        format!("{{\"online\":{online},\"timestamp\":{timestamp}}}").into_bytes()
    }

    #[test]
    fn the_first_word_counts_whatever_its_time() {
        // tck-id-message-flow-edge-node-birth-publish-phid-wait-timestamp
        for online in [true, false] {
            let mut host = Host::default();
            let word = host.told(&state(online, 5));
            assert_eq!(word, if online { Word::Online } else { Word::Offline });
            assert_eq!(host.is_online(), online);
        }
    }

    #[test]
    fn an_older_word_never_counts_and_an_equally_old_one_does() {
        // tck-id-message-flow-edge-node-birth-publish-phid-wait-timestamp
        // tck-id-operational-behavior-edge-node-termination-host-offline-timestamp
        let mut host = Host::default();
        assert_eq!(host.told(&state(true, 100)), Word::Online);
        assert_eq!(host.told(&state(false, 99)), Word::Ignored);
        assert!(host.is_online());
        assert_eq!(host.told(&state(false, 100)), Word::Offline);
        assert_eq!(host.told(&state(true, 99)), Word::Ignored);
        assert!(!host.is_online());
        assert_eq!(host.told(&state(true, 100)), Word::Online);
        host.forget();
        assert!(!host.is_online());
        assert_eq!(host.told(&state(true, 99)), Word::Ignored, "times are kept");
        assert_eq!(host.told(&state(true, 101)), Word::Online);
    }

    #[test]
    fn a_payload_of_another_form_says_nothing() {
        // tck-id-message-flow-edge-node-birth-publish-phid-wait-online
        let mut host = Host::default();
        for bad in [
            &b"ONLINE"[..],
            b"",
            b"{}",
            b"{\"online\":true}",
            b"{\"online\":1,\"timestamp\":5}",
            b"{\"online\":true,\"timestamp\":-5}",
            b"{\"online\":\"true\",\"timestamp\":5}",
        ] {
            assert_eq!(host.told(bad), Word::Ignored, "{bad:?}");
            assert!(!host.is_online());
        }
        let more = b"{\"online\":true,\"timestamp\":5,\"uuid\":\"x\"}";
        assert_eq!(host.told(more), Word::Online);
    }
}
