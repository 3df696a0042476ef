//! From the name of the broker to a message there and back, step by step; the first step that
//! fails is the finding.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustls::ClientConfig;

use super::finding::{Code, Finding};
use super::reach::{self, Stream, WAIT};
use super::wire::{self, Answer, Login, Trouble};
use crate::cli::assets;
use crate::config::{Mqtt, MqttVersion, Tls};
use crate::frame::StationId;
use crate::publish::{Credentials, PACKET_BYTES_NEEDED};

/// Reason code of MQTT 5: the access list says no.
const NOT_AUTHORISED: u8 = 0x87;
/// Reason code of MQTT 5: nobody listens; as good as success.
const NO_SUBSCRIBER: u8 = 0x10;

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Until the broker has taken the connection.
    Connect,
    /// And until a message went there and back.
    Topics,
    /// And whether another client throws us out.
    Takeover,
}

/// Whom to examine, and as whom.
pub(crate) struct Subject<'a> {
    pub(crate) mqtt: &'a Mqtt,
    pub(crate) station: &'a StationId,
    pub(crate) client_id: String,
}

/// Goes through the steps.
pub(crate) fn examine(subject: &Subject<'_>, depth: Depth) -> Finding {
    Examination::begin(subject).and_then(|examination| examination.run(depth)).unwrap_or_else(|f| f)
}

struct Examination<'a> {
    subject: &'a Subject<'a>,
    credentials: Option<Credentials>,
    tls: Option<(Tls, Arc<ClientConfig>)>,
    addresses: Vec<SocketAddr>,
    place: String,
}

impl<'a> Examination<'a> {
    /// Our own files, and the name.
    fn begin(subject: &'a Subject<'a>) -> Result<Self, Finding> {
        let mqtt = subject.mqtt;
        let credentials = assets::credentials(mqtt)
            .map_err(|error| Finding::new(Code::Files, format!("{error:#}")))?;
        let tls = match (&mqtt.tls, assets::tls(mqtt)) {
            (Some(tls), Some(files)) => {
                let config = files.load().map_err(|error| {
                    Finding::new(Code::Files, format!("{:#}", anyhow::Error::new(error)))
                })?;
                Some((tls.clone(), config))
            }
            _ => None,
        };
        let addresses = reach::resolve(mqtt)?;
        Ok(Self { subject, credentials, tls, addresses, place: reach::place(mqtt) })
    }

    fn run(&self, depth: Depth) -> Result<Finding, Finding> {
        let version = self.subject.mqtt.version;
        let mut stream = self.open()?;
        let answer = self.connect(&mut *stream, version)?;
        self.judge(version, &answer)?;
        if depth == Depth::Connect {
            wire::write(&mut stream, &wire::disconnect());
            return Ok(Finding::new(Code::Ok, format!("{} takes us", self.place)));
        }
        let finding = self.topics(&mut *stream)?;
        if depth == Depth::Takeover {
            self.stay(&mut *stream)?;
        }
        wire::write(&mut stream, &wire::disconnect());
        Ok(finding)
    }

    /// TCP, and TLS when it is asked for.
    fn open(&self) -> Result<Box<dyn Stream>, Finding> {
        let mqtt = self.subject.mqtt;
        let tcp = reach::tcp(mqtt, &self.addresses)?;
        let Some((files, config)) = &self.tls else { return Ok(Box::new(tcp)) };
        match reach::tls(mqtt, config.clone(), tcp) {
            Ok(stream) => Ok(Box::new(stream)),
            Err(Trouble::Tls(error)) if !self.answers_in_the_clear() => {
                Err(reach::tls_finding(mqtt, files, &error))
            }
            Err(_) if self.answers_in_the_clear() => Err(Finding::new(
                Code::PlainRequired,
                format!(
                    "{} speaks MQTT without TLS: set mqtt.tls = false, or use the broker's TLS \
                     port (usually 8883)",
                    self.place
                ),
            )),
            Err(Trouble::Silent) => Err(self.silent()),
            Err(_) => Err(Finding::new(
                Code::Tls,
                format!(
                    "{} hangs up when TLS begins: mend mqtt.port, or set the broker up for TLS",
                    self.place
                ),
            )),
        }
    }

    /// Whether a connection without TLS gets a CONNACK, be it a refusal.
    fn answers_in_the_clear(&self) -> bool {
        let Ok(mut tcp) = reach::tcp(self.subject.mqtt, &self.addresses) else { return false };
        // Without the password: it must not go through the plant in the clear.
        let login = Login { client_id: &self.subject.client_id, user: None };
        wire::write(&mut tcp, &wire::connect(self.subject.mqtt.version, &login));
        matches!(wire::read(&mut tcp), Ok((wire::CONNACK, _)))
    }

    fn connect(&self, stream: &mut dyn Stream, version: MqttVersion) -> Result<Answer, Finding> {
        let user = self.credentials.as_ref().map(|c| (c.user.as_str(), c.password.as_str()));
        let login = Login { client_id: &self.subject.client_id, user };
        wire::write(stream, &wire::connect(version, &login));
        match wire::read(stream) {
            Ok((wire::CONNACK, body)) => {
                wire::answer(&body).ok_or_else(|| self.not_mqtt(wire::CONNACK))
            }
            Ok((first, _)) => Err(self.not_mqtt(first)),
            Err(trouble) => Err(self.no_connack(version, trouble)),
        }
    }

    /// No CONNACK came.
    fn no_connack(&self, version: MqttVersion, trouble: Trouble) -> Finding {
        let mqtt = self.subject.mqtt;
        if let (Trouble::Tls(error), Some((files, _))) = (&trouble, &self.tls) {
            return reach::tls_finding(mqtt, files, error);
        }
        if self.tls.is_none() && reach::speaks_tls(mqtt, &self.addresses) {
            return Finding::new(
                Code::TlsRequired,
                format!(
                    "{} speaks TLS: set mqtt.tls = true and mqtt.ca_file, or use the broker's port \
                     without TLS (usually 1883)",
                    self.place
                ),
            );
        }
        match trouble {
            Trouble::Silent => self.silent(),
            Trouble::NotMqtt(first) => self.not_mqtt(first),
            Trouble::Closed | Trouble::Tls(_) => {
                if version == MqttVersion::V5 && self.takes_old_version() {
                    return self.old_version();
                }
                self.closed()
            }
        }
    }

    fn takes_old_version(&self) -> bool {
        let Ok(mut stream) = self.open() else { return false };
        self.connect(&mut *stream, MqttVersion::V3_1_1).is_ok_and(|answer| answer.code == 0)
    }

    fn old_version(&self) -> Finding {
        Finding::new(
            Code::Version,
            format!("{} does not speak MQTT 5: set mqtt.version = \"3.1.1\"", self.place),
        )
    }

    fn silent(&self) -> Finding {
        Finding::new(
            Code::NoAnswer,
            format!(
                "{} takes the connection and says nothing for {} s: is it an MQTT broker, and is \
                 it well?",
                self.place,
                WAIT.as_secs()
            ),
        )
    }

    fn not_mqtt(&self, first: u8) -> Finding {
        Finding::new(
            Code::NotMqtt,
            format!(
                "{} answers, but not as an MQTT broker (its first byte is 0x{first:02x}): mend \
                 mqtt.host or mqtt.port",
                self.place
            ),
        )
    }

    fn closed(&self) -> Finding {
        if let Some((Tls { client: None, .. }, _)) = &self.tls {
            return Finding::new(
                Code::ClientCertificateRequired,
                format!(
                    "{} hangs up after TLS, so it most likely asks for a certificate of ours: set \
                     mqtt.client_cert_file and client_key_file",
                    self.place
                ),
            );
        }
        Finding::new(
            Code::Closed,
            format!(
                "{} hangs up without an answer: its log has the reason (connection limit, client \
                 id, or no MQTT broker)",
                self.place
            ),
        )
    }

    /// The return code of CONNACK, and the broker's limits.
    fn judge(&self, version: MqttVersion, answer: &Answer) -> Result<(), Finding> {
        let place = &self.place;
        let said = answer.reason.as_ref().map_or_else(String::new, |text| format!(" ({text})"));
        let fail = |code, text: String| Err(Finding::new(code, text));
        match (version, answer.code) {
            (_, 0) => self.limits(answer),
            (_, 1 | 0x84) => Err(match version {
                MqttVersion::V5 => self.old_version(),
                MqttVersion::V3_1_1 => Finding::new(
                    Code::Version,
                    format!("{place} does not take MQTT 3.1.1: set mqtt.version = \"5\""),
                ),
            }),
            (_, 2 | 0x85) => fail(
                Code::ClientId,
                format!(
                    "{place} refuses the client id {}{said}: set mqtt.client_id to one that it \
                     allows",
                    self.subject.client_id
                ),
            ),
            (_, 4 | 5 | 0x86 | NOT_AUTHORISED | 0x8c) => fail(Code::Login, self.login_text(&said)),
            (_, 3 | 0x88 | 0x89 | 0x97 | 0x9f) => fail(
                Code::Unavailable,
                format!("{place} takes nobody now{said}: look at the broker's load and limits"),
            ),
            (_, 0x8a) => fail(
                Code::Login,
                format!("{place} has banned us{said}: lift the ban at the broker"),
            ),
            (_, code) => fail(
                Code::Unavailable,
                format!("{place} refuses us with code 0x{code:02x}{said}: its log has the reason"),
            ),
        }
    }

    fn login_text(&self, said: &str) -> String {
        match &self.credentials {
            None => format!(
                "{} takes nobody without user and password{said}: set mqtt.username and \
                 password_file",
                self.place
            ),
            Some(credentials) => format!(
                "{} refuses the user {} with this password{said}: check mqtt.username and the \
                 password, and that the broker has read its password file again",
                self.place, credentials.user
            ),
        }
    }

    fn limits(&self, answer: &Answer) -> Result<(), Finding> {
        let fail = |what: String| Err(Finding::new(Code::Limits, format!("{} {what}", self.place)));
        if answer.max_qos == Some(0) {
            return fail("acknowledges nothing (maximum QoS 0): allow QoS 1".to_owned());
        }
        if answer.retain_available == Some(0) {
            return fail("keeps no retained messages, which `state` needs: allow them".to_owned());
        }
        match answer.packet_bytes_max {
            Some(bytes) if (bytes as usize) < PACKET_BYTES_NEEDED => fail(format!(
                "takes packets of at most {bytes} bytes, and {PACKET_BYTES_NEEDED} are needed: \
                 raise its packet limit"
            )),
            _ => Ok(()),
        }
    }

    /// Listens on the commands and on a topic of our own, and sends there.
    fn topics(&self, stream: &mut dyn Stream) -> Result<Finding, Finding> {
        let mqtt = self.subject.mqtt;
        let base = format!("{}/{}", mqtt.prefix, self.subject.station);
        let (probe, commands) = (format!("{base}/doctor"), format!("{base}/cmd"));
        wire::write(stream, &wire::subscribe(mqtt.version, &[&probe, &commands]));
        let granted = self.wait_for(stream, |kind, _| kind == wire::SUBACK)?;
        for (i, topic) in [&probe, &commands].into_iter().enumerate() {
            if wire::sub_code(mqtt.version, &granted, i) >= 0x80 {
                return Err(self.subscribe_refused(topic));
            }
        }
        let began = Instant::now();
        wire::write(stream, &wire::publish(mqtt.version, &probe, b"crrd doctor"));
        let (mut acknowledged, mut returned) = (false, None);
        while !acknowledged || returned.is_none() {
            let (kind, body) = match self.next(stream) {
                Ok(packet) => packet,
                // The acknowledgement alone: somewhere on the way back the message was dropped.
                Err(Trouble::Silent) if acknowledged => return Err(self.not_returned(&probe)),
                Err(trouble) => return Err(self.broken(&trouble, &probe)),
            };
            match kind {
                wire::PUBACK => match wire::ack_code(&body) {
                    0 | NO_SUBSCRIBER => acknowledged = true,
                    code => return Err(self.publish_refused(&probe, code)),
                },
                wire::PUBLISH if wire::topic(&body) == Some(&probe) => {
                    returned = Some(began.elapsed());
                }
                _ => {}
            }
        }
        let ms = returned.unwrap_or_default().as_secs_f64() * 1_000.0;
        let text = format!(
            "all is well: {} takes us, and a message went there and back in {ms:.1} ms",
            self.place
        );
        Ok(Finding { round_trip: returned, ..Finding::new(Code::Ok, text) })
    }

    /// Stays for a while: another client with our id comes back and throws us out.
    fn stay(&self, stream: &mut dyn Stream) -> Result<(), Finding> {
        let end = Instant::now() + WAIT;
        while Instant::now() < end {
            match wire::read(stream) {
                Ok((wire::DISCONNECT, _)) | Err(Trouble::Closed) => {
                    return Err(Finding::new(
                        Code::Takeover,
                        format!(
                            "another client uses the client id {} and threw us out: give each \
                             station an mqtt.client_id of its own, and stop this station before \
                             asking with --as-station",
                            self.subject.client_id
                        ),
                    ));
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn next(&self, stream: &mut dyn Stream) -> Result<(u8, Vec<u8>), Trouble> {
        let (first, body) = wire::read(stream)?;
        // The flags of a PUBLISH do not matter here.
        let kind = if first >> 4 == wire::PUBLISH >> 4 { wire::PUBLISH } else { first };
        Ok((kind, body))
    }

    fn wait_for(
        &self,
        stream: &mut dyn Stream,
        wanted: impl Fn(u8, &[u8]) -> bool,
    ) -> Result<Vec<u8>, Finding> {
        loop {
            match self.next(stream) {
                Ok((kind, body)) if wanted(kind, &body) => return Ok(body),
                Ok(_) => {}
                Err(trouble) => return Err(self.broken(&trouble, "the subscription")),
            }
        }
    }

    fn broken(&self, trouble: &Trouble, at: &str) -> Finding {
        match trouble {
            Trouble::Silent => self.silent(),
            _ => Finding::new(
                Code::Closed,
                format!(
                    "{} takes us and hangs up at {at}: its log has the reason (access list, or \
                     another client with the id {})",
                    self.place, self.subject.client_id
                ),
            ),
        }
    }

    fn user(&self) -> String {
        match &self.credentials {
            Some(credentials) => format!("the user {}", credentials.user),
            None => "clients without a user".to_owned(),
        }
    }

    fn base(&self) -> String {
        format!("{}/{}/#", self.subject.mqtt.prefix, self.subject.station)
    }

    fn subscribe_refused(&self, topic: &str) -> Finding {
        Finding::new(
            Code::Subscribe,
            format!(
                "{} does not let us listen on {topic}: allow {} to read it in the broker's access \
                 list",
                self.place,
                self.user()
            ),
        )
    }

    fn publish_refused(&self, topic: &str, code: u8) -> Finding {
        let why = match code {
            NOT_AUTHORISED => "not authorised".to_owned(),
            0x97 => "quota exceeded".to_owned(),
            code => format!("code 0x{code:02x}"),
        };
        Finding::new(
            Code::Publish,
            format!(
                "{} refuses what we send to {topic} ({why}): allow {} to write {} in the broker's \
                 access list",
                self.place,
                self.user(),
                self.base()
            ),
        )
    }

    /// Without reason codes a broker drops what the access list forbids and says nothing.
    fn not_returned(&self, topic: &str) -> Finding {
        Finding::new(
            Code::Publish,
            format!(
                "{} took our message on {topic} and did not give it back, so its access list \
                 forbids {} to write or to read there: allow both for {}",
                self.place,
                self.user(),
                self.base()
            ),
        )
    }
}
