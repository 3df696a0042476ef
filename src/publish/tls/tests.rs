//! Files for TLS: what is accepted, and what is said about what is not.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

use super::*;

/// An authority and a certificate of it, as files.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { dir: tempfile::tempdir().unwrap() };
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 2, 29);
        params.not_after = date_time_ymd(2060, 1, 1);
        files.write("ca.pem", &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["station".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2024, 1, 1);
        params.not_after = date_time_ymd(2030, 12, 31);
        files.write("station.pem", &params.signed_by(&key, &issuer).unwrap().pem());
        files.write("station.key", &key.serialize_pem());
        files.write("other.key", &KeyPair::generate().unwrap().serialize_pem());
        files.write("empty", "");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn tls(&self, ca: &str, client: Option<(&str, &str)>) -> TlsFiles {
        let client =
            client.map(|(cert, key)| ClientFiles { cert: self.path(cert), key: self.path(key) });
        TlsFiles { ca: self.path(ca), client }
    }
}

#[track_caller]
fn refused(files: &TlsFiles, file: &Path, says: &str) {
    let error = files.load().unwrap_err().to_string();
    assert!(error.starts_with(&file.display().to_string()), "{error}");
    assert!(error.contains(says), "{error}");
}

#[test]
fn fitting_files_are_taken() {
    let files = Files::new();
    files.tls("ca.pem", None).load().unwrap();
    files.tls("ca.pem", Some(("station.pem", "station.key"))).load().unwrap();
}

#[test]
fn each_file_that_does_not_fit_is_named_with_its_fault() {
    let files = Files::new();
    let client = |cert, key| files.tls("ca.pem", Some((cert, key)));
    refused(&files.tls("absent", None), &files.path("absent"), "cannot be read");
    refused(&files.tls("empty", None), &files.path("empty"), "no certificate");
    refused(&files.tls("station.key", None), &files.path("station.key"), "no certificate");
    refused(&client("empty", "station.key"), &files.path("empty"), "no certificate");
    let key = files.path("other.key");
    refused(&client("station.pem", "other.key"), &key, "does not belong to the certificate");
    let not_a_key = files.path("station.pem");
    refused(&client("station.pem", "station.pem"), &not_a_key, "no private key");
    let whole = std::fs::read_to_string(files.path("ca.pem")).unwrap();
    files.write("cut.pem", &whole[..whole.len() / 2]);
    refused(&files.tls("cut.pem", None), &files.path("cut.pem"), "damaged");
}

#[test]
fn the_dates_of_all_certificates_are_read() {
    let files = Files::new();
    let tls = files.tls("ca.pem", Some(("station.pem", "station.key")));
    let found = tls.certificates().unwrap();
    let shown: Vec<_> = found.iter().map(|c| (c.file.clone(), c.validity.to_string())).collect();
    let expected = [
        ("ca.pem", "valid from 2020-02-29 to 2060-01-01"),
        ("station.pem", "valid from 2024-01-01 to 2030-12-31"),
    ];
    assert_eq!(shown, expected.map(|(file, text)| (files.path(file), text.to_owned())));
}
