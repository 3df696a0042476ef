//! Certificates for the tests: an authority and what it signs, right or wrong in one way.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

/// An authority with a folder for the files it makes.
pub(crate) struct Authority {
    dir: PathBuf,
    name: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Writes `NAME.pem` into `dir`.
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        std::fs::write(dir.join(format!("{name}.pem")), pem).unwrap();
        Self { dir: dir.to_owned(), name: name.to_owned(), issuer: Issuer::new(params, key) }
    }

    /// Its certificate.
    pub(crate) fn pem(&self) -> PathBuf {
        self.dir.join(format!("{}.pem", self.name))
    }

    /// Writes `NAME.pem` and `NAME.key`: a certificate for this host, valid from 2020 to the
    /// first day of `until`.
    pub(crate) fn sign(&self, name: &str, host: &str, until: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        std::fs::write(self.dir.join(format!("{name}.pem")), pem).unwrap();
        std::fs::write(self.dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}
