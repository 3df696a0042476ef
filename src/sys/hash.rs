//! SHA-256 as lower-case hex: the identity of models, calibrations and data sets.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::fs::FsError;

/// Bytes read at a time: large enough to hide the call, small enough for any stack.
const CHUNK_BYTES: usize = 16 * 1024;

/// SHA-256 of `bytes`, 64 lower-case hex digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file's content without holding the file in memory.
///
/// # Errors
/// When the file cannot be opened or read.
pub fn sha256_file_hex(path: &Path) -> Result<String, FsError> {
    let mut file = std::fs::File::open(path).map_err(|e| FsError::io("open", path, e))?;
    let mut hasher = Sha256::new();
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(to_hex(&hasher.finalize())),
            Ok(n) => hasher.update(&chunk[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(FsError::io("read", path, e)),
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standard() {
        // FIPS 180-2, appendix B.1 and the empty message.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256_hex(b"abc"), abc);
        assert_eq!(sha256_hex(b""), empty);
    }

    #[test]
    fn a_file_hashes_like_its_bytes_across_chunk_borders() {
        let dir = tempfile::tempdir().unwrap();
        for len in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
            let path = dir.path().join(len.to_string());
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(sha256_file_hex(&path).unwrap(), sha256_hex(&bytes));
        }
        assert!(sha256_file_hex(&dir.path().join("missing")).is_err());
    }
}
