//! What was found: a code for programs, a sentence for people.

use std::fmt;
use std::time::Duration;

use serde_json::json;

use crate::config::{Mqtt, MqttVersion};

/// Kinds of findings; `docs/integrator.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// All is well.
    Ok,
    /// Our own files cannot be used: password, certificates.
    Files,
    /// The name does not resolve.
    Name,
    /// Nothing listens there.
    PortClosed,
    /// The host does not answer.
    Unreachable,
    /// Connected, and then silence.
    NoAnswer,
    /// Something else than an MQTT broker answers.
    NotMqtt,
    /// The broker hangs up without a word.
    Closed,
    /// The broker wants TLS.
    TlsRequired,
    /// The broker does not want TLS.
    PlainRequired,
    /// TLS failed for another reason.
    Tls,
    /// The broker's certificate is from an unknown authority.
    CertificateUnknown,
    /// The broker's certificate has expired or is not valid yet.
    CertificateExpired,
    /// The broker's certificate is for another name.
    CertificateName,
    /// The broker asks for a certificate of ours.
    ClientCertificateRequired,
    /// The broker refuses our certificate.
    ClientCertificateRefused,
    /// The broker does not speak this version of MQTT.
    Version,
    /// User or password are wrong.
    Login,
    /// The broker refuses the client id.
    ClientId,
    /// Another client has our client id.
    Takeover,
    /// The broker is there and takes nobody now.
    Unavailable,
    /// The broker's limits are too narrow.
    Limits,
    /// We may not publish.
    Publish,
    /// We may not subscribe.
    Subscribe,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 24] = [
        Self::Ok,
        Self::Files,
        Self::Name,
        Self::PortClosed,
        Self::Unreachable,
        Self::NoAnswer,
        Self::NotMqtt,
        Self::Closed,
        Self::TlsRequired,
        Self::PlainRequired,
        Self::Tls,
        Self::CertificateUnknown,
        Self::CertificateExpired,
        Self::CertificateName,
        Self::ClientCertificateRequired,
        Self::ClientCertificateRefused,
        Self::Version,
        Self::Login,
        Self::ClientId,
        Self::Takeover,
        Self::Unavailable,
        Self::Limits,
        Self::Publish,
        Self::Subscribe,
    ];

    /// The code as programs see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Files => "files",
            Self::Name => "name",
            Self::PortClosed => "port_closed",
            Self::Unreachable => "unreachable",
            Self::NoAnswer => "no_answer",
            Self::NotMqtt => "not_mqtt",
            Self::Closed => "closed",
            Self::TlsRequired => "tls_required",
            Self::PlainRequired => "plain_required",
            Self::Tls => "tls",
            Self::CertificateUnknown => "certificate_unknown",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateName => "certificate_name",
            Self::ClientCertificateRequired => "client_certificate_required",
            Self::ClientCertificateRefused => "client_certificate_refused",
            Self::Version => "version",
            Self::Login => "login",
            Self::ClientId => "client_id",
            Self::Takeover => "takeover",
            Self::Unavailable => "unavailable",
            Self::Limits => "limits",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}

/// One sentence: what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// For programs.
    pub code: Code,
    /// For people.
    pub text: String,
    /// From a publish to its return, when it was measured.
    pub round_trip: Option<Duration>,
}

impl Finding {
    pub(super) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), round_trip: None }
    }

    /// Nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.code == Code::Ok
    }

    pub(super) fn to_json(&self, mqtt: &Mqtt) -> String {
        let version = match mqtt.version {
            MqttVersion::V3_1_1 => "3.1.1",
            MqttVersion::V5 => "5",
        };
        json!({
            "ok": self.is_good(),
            "code": self.code.as_str(),
            "text": self.text,
            "host": mqtt.host,
            "port": mqtt.port,
            "tls": mqtt.tls.is_some(),
            "version": version,
            "round_trip_us": self.round_trip.map(|time| time.as_micros() as u64),
        })
        .to_string()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
