//! The way to the broker: name, port, TLS.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
};

use super::finding::{Code, Finding};
use super::wire::Trouble;
use crate::config::{Mqtt, Tls};

/// Longest wait for each step: far above a plant network's round trip, and short enough to stand
/// before every start.
pub(super) const WAIT: Duration = Duration::from_secs(3);

/// A stream to the broker, with or without TLS.
pub(super) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// `host:port`, for messages.
pub(super) fn place(mqtt: &Mqtt) -> String {
    format!("{}:{}", mqtt.host, mqtt.port)
}

/// Resolves the name. In a thread of its own: there is no time limit to be had from the system.
pub(super) fn resolve(mqtt: &Mqtt) -> Result<Vec<SocketAddr>, Finding> {
    let (sender, receiver) = mpsc::channel();
    let target = (mqtt.host.clone(), mqtt.port);
    let resolver = std::thread::Builder::new().name("crrd-resolve".to_owned()).spawn(move || {
        // Nobody waits any more when the name service took too long.
        let _ = sender.send(target.to_socket_addrs().map(Iterator::collect::<Vec<_>>));
    });
    let host = &mqtt.host;
    let fail = |what: String| {
        let remedy = "mend mqtt.host, or the name service of this machine; an address works, too";
        Err(Finding::new(
            Code::Name,
            format!("the name {host} does not resolve ({what}): {remedy}"),
        ))
    };
    if let Err(error) = resolver {
        return fail(error.to_string());
    }
    match receiver.recv_timeout(WAIT) {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Ok(Ok(_)) => fail("no address".to_owned()),
        Ok(Err(error)) => fail(error.to_string()),
        Err(_) => fail(format!("no answer within {} s", WAIT.as_secs())),
    }
}

/// Connects to the first address that takes us.
pub(super) fn tcp(mqtt: &Mqtt, addresses: &[SocketAddr]) -> Result<TcpStream, Finding> {
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(address, WAIT) {
            Ok(stream) => {
                let limits =
                    [stream.set_read_timeout(Some(WAIT)), stream.set_write_timeout(Some(WAIT))];
                match limits.into_iter().find_map(Result::err) {
                    None => return Ok(stream),
                    Some(error) => last = Some(error),
                }
            }
            Err(error) => last = Some(error),
        }
    }
    let place = place(mqtt);
    Err(match last {
        Some(error) if error.kind() == ErrorKind::ConnectionRefused => Finding::new(
            Code::PortClosed,
            format!(
                "nothing listens on {place}: start the broker, or mend mqtt.port (usual are 1883, \
                 and 8883 with TLS)"
            ),
        ),
        error => {
            let why = error.map_or_else(|| "no address".to_owned(), |error| error.to_string());
            Finding::new(
                Code::Unreachable,
                format!(
                    "{place} cannot be reached ({why}): check address, cable and firewalls, and \
                     IPAddressAllow= of the service"
                ),
            )
        }
    })
}

/// TLS over the connection, or what came in between.
pub(super) fn tls(
    mqtt: &Mqtt,
    config: Arc<ClientConfig>,
    mut tcp: TcpStream,
) -> Result<StreamOwned<ClientConnection, TcpStream>, Trouble> {
    let name = ServerName::try_from(mqtt.host.clone())
        .map_err(|_| Trouble::Tls(CertificateError::NotValidForName.into()))?;
    let mut connection = ClientConnection::new(config, name).map_err(Trouble::Tls)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut tcp)?;
    }
    Ok(StreamOwned::new(connection, tcp))
}

/// Whether a fresh connection answers to TLS at all; whom it claims to be does not matter.
pub(super) fn speaks_tls(mqtt: &Mqtt, addresses: &[SocketAddr]) -> bool {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map(
            |builder| builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
        );
    let (Ok(config), Ok(stream)) = (config, tcp(mqtt, addresses)) else { return false };
    match tls(mqtt, Arc::new(config), stream) {
        Ok(_) => true,
        Err(Trouble::Tls(error)) => {
            matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))
        }
        Err(_) => false,
    }
}

/// What an error of TLS means for this broker and these files.
pub(super) fn tls_finding(mqtt: &Mqtt, files: &Tls, error: &rustls::Error) -> Finding {
    let host = &mqtt.host;
    let place = place(mqtt);
    match error {
        rustls::Error::InvalidCertificate(error) => certificate_finding(mqtt, files, error),
        rustls::Error::AlertReceived(alert) => client_finding(mqtt, files, *alert),
        rustls::Error::InvalidMessage(_) => Finding::new(
            Code::Tls,
            format!("{place} answers with something that is not TLS: mend mqtt.port"),
        ),
        other => Finding::new(
            Code::Tls,
            format!("TLS with {host} fails ({other}): the broker must offer TLS 1.2 or 1.3"),
        ),
    }
}

fn certificate_finding(mqtt: &Mqtt, files: &Tls, error: &CertificateError) -> Finding {
    use CertificateError as E;
    let (host, ca) = (&mqtt.host, files.ca_file.display());
    let (code, text) = match error {
        E::UnknownIssuer | E::BadSignature => (
            Code::CertificateUnknown,
            format!(
                "the broker's certificate is from an authority that {ca} does not hold: put the \
                 certificate of that authority into mqtt.ca_file"
            ),
        ),
        E::Expired | E::ExpiredContext { .. } => (
            Code::CertificateExpired,
            "the broker's certificate has expired: renew it, and check this machine's clock"
                .to_owned(),
        ),
        E::NotValidYet | E::NotValidYetContext { .. } => (
            Code::CertificateExpired,
            "the broker's certificate is not valid yet: check the clocks of both machines"
                .to_owned(),
        ),
        E::NotValidForName | E::NotValidForNameContext { .. } => (
            Code::CertificateName,
            format!(
                "the broker's certificate is not for the name {host}: use the name that is in the \
                 certificate as mqtt.host, or make one for {host}"
            ),
        ),
        other => {
            (Code::Tls, format!("the broker's certificate cannot be used ({other}): make it again"))
        }
    };
    Finding::new(code, text)
}

fn client_finding(mqtt: &Mqtt, files: &Tls, alert: AlertDescription) -> Finding {
    use AlertDescription as A;
    let place = place(mqtt);
    let Some((cert, _)) = &files.client else {
        return match alert {
            A::CertificateRequired | A::HandshakeFailure | A::BadCertificate => Finding::new(
                Code::ClientCertificateRequired,
                format!(
                    "{place} asks for a certificate of ours: set mqtt.client_cert_file and \
                     client_key_file"
                ),
            ),
            other => Finding::new(
                Code::Tls,
                format!("{place} ends TLS ({other:?}): it must offer TLS 1.2 or 1.3"),
            ),
        };
    };
    let why = match alert {
        A::UnknownCA => "it does not know the authority that signed it".to_owned(),
        A::CertificateExpired => "it has expired".to_owned(),
        A::CertificateRevoked => "it was revoked".to_owned(),
        other => format!("{other:?}"),
    };
    let cert = cert.display();
    Finding::new(
        Code::ClientCertificateRefused,
        format!(
            "{place} refuses our certificate {cert} ({why}): have it signed by the authority that \
             the broker trusts"
        ),
    )
}
