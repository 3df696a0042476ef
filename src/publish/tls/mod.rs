//! TLS to the broker: files -> a configuration of rustls.
//!
//! The files are read again for every connection, so a renewed certificate needs no restart of
//! the station. Only the named authorities are trusted: a plant's broker has a certificate of the
//! plant's own authority, and everything else is a stranger.

mod validity;

use std::path::PathBuf;
use std::sync::Arc;

use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::sys::fs;
pub use validity::Validity;

/// A chain or a bundle of authorities is some kilobytes; the whole system's bundle is 0.3 MB.
const FILE_BYTES_MAX: u64 = 2 << 20;

/// Which files to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the trusted authorities, PEM.
    pub ca: PathBuf,
    /// Our own certificate, where the broker asks for one.
    pub client: Option<ClientFiles>,
}

/// What we show to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// Our certificate and those between it and the authority, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM, without a pass phrase.
    pub key: PathBuf,
}

/// Files that cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {what}; {remedy}", file = file.display())]
pub struct TlsError {
    file: PathBuf,
    what: String,
    remedy: &'static str,
    #[source]
    source: Option<Box<fs::FsError>>,
}

/// A certificate of one of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Where it was.
    pub file: PathBuf,
    /// When it may be used.
    pub validity: Validity,
}

impl TlsFiles {
    /// Reads the files and proves that they fit each other.
    ///
    /// # Errors
    /// When a file cannot be read or used, or key and certificate do not belong together.
    pub fn load(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.ca)? {
            roots.add(authority).map_err(|error| {
                let what = format!("not the certificate of an authority ({error})");
                self.fail(
                    &self.ca,
                    what,
                    "name the certificate of the authority that signed the \
                     broker's certificate",
                )
            })?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| self.fail(&self.ca, error.to_string(), "report this defect"))?
            .with_root_certificates(roots);
        let Some(client) = &self.client else {
            return Ok(Arc::new(builder.with_no_client_auth()));
        };
        let chain = certificates(&client.cert)?;
        let key = private_key(&client.key)?;
        let config = builder.with_client_auth_cert(chain, key).map_err(|error| {
            let what = match error {
                rustls::Error::InconsistentKeys(_) => {
                    "does not belong to the certificate".to_owned()
                }
                other => format!("cannot be used ({other})"),
            };
            self.fail(&client.key, what, "name the key that client_cert_file was made with")
        })?;
        Ok(Arc::new(config))
    }

    /// What the client library needs; without files, plain TCP.
    pub(super) fn transport(files: Option<&Self>) -> Result<Transport, String> {
        let Some(files) = files else { return Ok(Transport::tcp()) };
        match files.load() {
            Ok(config) => Ok(Transport::tls_with_config(TlsConfiguration::Rustls(config))),
            Err(error) => Err(format!("TLS: {error}")),
        }
    }

    /// The certificates of all files, in the order of the files.
    ///
    /// # Errors
    /// When a file cannot be read or holds no certificate that can be understood.
    pub fn certificates(&self) -> Result<Vec<Certificate>, TlsError> {
        let files = std::iter::once(&self.ca).chain(self.client.as_ref().map(|c| &c.cert));
        let mut all = Vec::new();
        for file in files {
            for der in certificates(file)? {
                let validity = Validity::of(&der).ok_or_else(|| {
                    self.fail(file, "not an X.509 certificate".to_owned(), "make it again")
                })?;
                all.push(Certificate { file: file.clone(), validity });
            }
        }
        Ok(all)
    }

    fn fail(&self, file: &std::path::Path, what: String, remedy: &'static str) -> TlsError {
        TlsError { file: file.to_owned(), what, remedy, source: None }
    }
}

fn read(file: &std::path::Path) -> Result<Vec<u8>, TlsError> {
    fs::read_limited(file, FILE_BYTES_MAX).map_err(|source| TlsError {
        file: file.to_owned(),
        what: "cannot be read".to_owned(),
        remedy: "name a file that the user of the service may read",
        source: Some(Box::new(source)),
    })
}

fn certificates(file: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |what: String| TlsError {
        file: file.to_owned(),
        what,
        remedy: "name a PEM file (-----BEGIN CERTIFICATE-----)",
        source: None,
    };
    let bytes = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| fail(format!("damaged ({error})")))?;
    if found.is_empty() {
        return Err(fail("holds no certificate".to_owned()));
    }
    Ok(found)
}

fn private_key(file: &std::path::Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(file)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| TlsError {
        file: file.to_owned(),
        what: format!("holds no private key ({error})"),
        remedy: "name a PEM file with the key and without a pass phrase",
        source: None,
    })
}

#[cfg(test)]
mod tests;
