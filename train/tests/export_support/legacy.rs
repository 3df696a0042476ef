//! Writes legacy PyTorch weight files and wheels, as PyTorch 1.5 did.

use std::collections::BTreeMap;
use std::io::Write;

use crrd_train::arch::HostTensor;

/// A legacy file of the tensors. Four-dimensional ones are stored in TensorFlow's HWIO order and
/// described by strides, as in the published files; one LongStorage counter comes first.
pub(crate) fn file(tensors: &BTreeMap<String, HostTensor>) -> Vec<u8> {
    // Magic number, protocol 1001, system information {"little_endian": True}.
    let mut out =
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
    out.extend(b"\x80\x02}q\x00");
    string(&mut out, "little_endian");
    out.extend(b"\x88s.");
    out.extend(b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(");
    tensor(&mut out, "_bn0.num_batches_tracked", "LongStorage", &[], &[], 1);
    for (name, t) in tensors {
        let strides = strides(&t.shape);
        tensor(&mut out, name, "FloatStorage", &t.shape, &strides, t.values.len());
    }
    // The dictionary's attribute `_metadata`.
    out.extend(b"u}q\x02");
    string(&mut out, "_metadata");
    out.extend(b"}sb.");
    out.extend(b"\x80\x02]q\x00(");
    string(&mut out, "_bn0.num_batches_tracked");
    tensors.keys().for_each(|name| string(&mut out, name));
    out.extend(b"e.");
    out.extend(1u64.to_le_bytes());
    out.extend(500u64.to_le_bytes());
    for t in tensors.values() {
        out.extend((t.values.len() as u64).to_le_bytes());
        out.extend(stored(t).iter().flat_map(|v| v.to_le_bytes()));
    }
    out
}

/// A wheel (zip) with the file and a licence.
pub(crate) fn wheel(file: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    let options = zip::write::SimpleFileOptions::default();
    for (name, bytes) in [("pkg/weights.pth", file), ("pkg-1.dist-info/LICENSE", b"Apache-2.0")] {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Strides of HWIO storage for `[o, i, h, w]`, row-major otherwise.
fn strides(shape: &[usize]) -> Vec<usize> {
    match shape {
        [o, i, _, w] => vec![1, *o, o * i * w, o * i],
        _ => (0..shape.len()).map(|d| shape[d + 1..].iter().product()).collect(),
    }
}

/// The values in storage order.
fn stored(t: &HostTensor) -> Vec<f32> {
    let mut out = vec![0.0; t.values.len()];
    let strides = strides(&t.shape);
    for (index, v) in t.values.iter().enumerate() {
        let (mut rest, mut at) = (index, 0);
        for (d, s) in t.shape.iter().zip(&strides).rev() {
            at += rest % d * s;
            rest /= d;
        }
        out[at] = *v;
    }
    out
}

fn tensor(
    out: &mut Vec<u8>,
    name: &str,
    class: &str,
    shape: &[usize],
    strides: &[usize],
    count: usize,
) {
    string(out, name);
    out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    string(out, "storage");
    out.extend(format!("ctorch\n{class}\n").bytes());
    string(out, name);
    string(out, "cpu");
    integer(out, count);
    out.extend(b"NtQ");
    integer(out, 0);
    for numbers in [shape, strides] {
        out.push(b'(');
        numbers.iter().for_each(|n| integer(out, *n));
        out.push(b't');
    }
    out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.bytes());
}

fn integer(out: &mut Vec<u8>, value: usize) {
    out.push(b'J');
    out.extend((value as u32).to_le_bytes());
}
