//! Topic names: `PREFIX/STATION/KIND`.

use crate::frame::StationId;

/// Longest PLC-facing topic: the smallest client (Rockwell's) takes 64 characters.
const TOPIC_CHARS_MAX: usize = 64;
/// Most levels: CODESYS' default.
const TOPIC_LEVELS_MAX: usize = 10;

/// A prefix that cannot be the beginning of the station's topics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("topic prefix {prefix:?} is not valid: {rule}")]
pub struct TopicError {
    prefix: String,
    rule: &'static str,
}

/// All topics of one station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    base: String,
}

impl Topics {
    /// # Errors
    /// When `prefix` is empty, holds a wildcard, an empty level or anything that is not
    /// printable ASCII, or makes a topic longer than 64 characters or deeper than 10 levels.
    pub fn new(prefix: &str, station: &StationId) -> Result<Self, TopicError> {
        let refuse = |rule| Err(TopicError { prefix: prefix.to_owned(), rule });
        if prefix.is_empty() || prefix.split('/').any(str::is_empty) {
            return refuse("it must not be empty, begin or end with '/', or hold '//'");
        }
        if !prefix.bytes().all(|b| b.is_ascii_graphic() && b != b'+' && b != b'#' && b != b'$') {
            return refuse("only printable ASCII without blanks, '+', '#' and '$'");
        }
        let topics = Self { base: format!("{prefix}/{station}") };
        let longest = topics.verdict();
        if longest.len() > TOPIC_CHARS_MAX {
            return refuse("PREFIX/STATION/verdict must not be longer than 64 characters");
        }
        if longest.split('/').count() > TOPIC_LEVELS_MAX {
            return refuse("a topic must not have more than 10 levels");
        }
        Ok(topics)
    }

    fn of(&self, kind: &str) -> String {
        format!("{}/{kind}", self.base)
    }

    /// Live verdicts, QoS 1.
    pub fn verdict(&self) -> String {
        self.of("verdict")
    }

    /// Newest verdict, QoS 1, retained: for displays, not for a PLC.
    pub fn last(&self) -> String {
        self.of("last")
    }

    /// State, QoS 1, retained; also the last will.
    pub fn state(&self) -> String {
        self.of("state")
    }

    /// Heartbeat, QoS 0.
    pub fn heartbeat(&self) -> String {
        self.of("hb")
    }

    /// Late and replayed verdicts, QoS 1.
    pub fn hist(&self) -> String {
        self.of("hist")
    }

    /// Defect masks, QoS 1.
    pub fn mask(&self) -> String {
        self.of("mask")
    }

    /// Events, QoS 1.
    pub fn event(&self) -> String {
        self.of("event")
    }

    /// Live verdicts as 64 bytes, QoS 1.
    pub fn vbin(&self) -> String {
        self.of("vbin")
    }

    /// Commands to the station, QoS 1.
    pub fn command(&self) -> String {
        self.of("cmd")
    }

    /// The station's answers to commands, QoS 1.
    pub fn command_ack(&self) -> String {
        self.of("cmdack")
    }

    /// What a consumer has received, cumulatively, QoS 1.
    pub fn consumer_ack(&self) -> String {
        self.of("ack")
    }

    /// Metrics, QoS 1.
    pub fn health(&self) -> String {
        self.of("health")
    }

    /// Changes of the calibration, QoS 1.
    pub fn calib(&self) -> String {
        self.of("calib")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_prefix_station_kind() {
        let topics = Topics::new("crr", &StationId::new("line1-st3").unwrap()).unwrap();
        assert_eq!(topics.verdict(), "crr/line1-st3/verdict");
        assert_eq!(topics.heartbeat(), "crr/line1-st3/hb");
    }

    #[test]
    fn prefixes_a_plc_client_cannot_take_are_refused() {
        let station = StationId::new("s").unwrap();
        let deep = ["a"; 9].join("/");
        let long = "x".repeat(60);
        for bad in ["", "/a", "a/", "a//b", "a b", "a/+", "#", "$SYS", "ä", &deep, &long] {
            assert!(Topics::new(bad, &station).is_err(), "{bad:?}");
        }
        assert!(Topics::new("plant/hall2/line1", &station).is_ok());
    }
}
