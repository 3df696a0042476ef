//! PyTorch's legacy (before 1.6, not zip) weight files.
//!
//! Format: three pickles (magic number, protocol version, system information), one pickle of the
//! dictionary name -> tensor with the storages as persistent ids, one pickle of the list of
//! storage keys, then for each key the number of values (64-bit) and the values, little-endian.
//! A tensor is a strided view of a storage. The published EfficientNet-Lite files keep
//! TensorFlow's memory order, so strides are not row-major and have to be honoured.

use std::collections::BTreeMap;

use super::pickle::{Global, Id, Node, Pickle, unpickle};
use crate::arch::HostTensor;

/// The magic number's bytes, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Version of the legacy format.
const PROTOCOL: i64 = 1001;
/// Largest number of values in one tensor and in all of them together: the biggest supported
/// encoder has 6 million.
const VALUES_MAX: usize = 64 << 20;
/// Most dimensions of a tensor.
const RANK_MAX: usize = 8;

/// Bytes a value of each storage, and whether they are f32.
type Kinds = BTreeMap<String, (usize, bool)>;

/// A strided view of a storage.
struct View {
    name: String,
    storage: String,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// All f32 tensors of a legacy file.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, HostTensor>, String> {
    let mut rest = bytes;
    match unpickle(&mut rest)?.root() {
        Node::Long(magic) if magic[..] == MAGIC => {}
        _ => return Err("not a legacy PyTorch file (wrong magic number)".to_owned()),
    }
    if *unpickle(&mut rest)?.root() != Node::Int(PROTOCOL) {
        return Err("unknown version of the legacy PyTorch format".to_owned());
    }
    unpickle(&mut rest)?; // byte order and type sizes of the writer: always little-endian here
    let state = unpickle(&mut rest)?;
    let (views, kinds) = views(&state)?;
    let storages = storages(&mut rest, &kinds)?;
    gather(views, &storages)
}

/// The tensors of the dictionary and the kinds of their storages.
fn views(state: &Pickle) -> Result<(Vec<View>, Kinds), String> {
    let Node::Dict(items) = state.root() else {
        return Err("the file holds no dictionary of tensors".to_owned());
    };
    let mut kinds = BTreeMap::new();
    let mut views = Vec::with_capacity(items.len());
    for (key, value) in items {
        let name = state.str(*key).ok_or("a tensor has no name")?;
        let (view, kind) = view(state, name, *value)
            .ok_or_else(|| format!("`{name}` is no tensor of a supported kind"))?;
        if *kinds.entry(view.storage.clone()).or_insert(kind) != kind {
            return Err(format!("`{name}` reads its storage as another type"));
        }
        views.push(view);
    }
    Ok((views, kinds))
}

fn view(state: &Pickle, name: &str, value: Id) -> Option<(View, (usize, bool))> {
    let Node::Tensor(arguments) = state.get(value) else { return None };
    let [storage, offset, shape, strides, ..] = state.tuple(*arguments)? else { return None };
    let Node::Persistent(id) = state.get(*storage) else { return None };
    let [tag, class, key, ..] = state.tuple(*id)? else { return None };
    let Node::Global(Global::Storage { bytes, float }) = state.get(*class) else { return None };
    let (shape, strides) = (state.ints(*shape)?, state.ints(*strides)?);
    if state.str(*tag)? != "storage" || shape.len() != strides.len() || shape.len() > RANK_MAX {
        return None;
    }
    let view = View {
        name: name.to_owned(),
        storage: state.str(*key)?.to_owned(),
        offset: state.int(*offset)?,
        shape,
        strides,
    };
    Some((view, (*bytes, *float)))
}

/// Reads the storages behind the dictionary; those that are not f32 are passed over.
fn storages(rest: &mut &[u8], kinds: &Kinds) -> Result<BTreeMap<String, Vec<f32>>, String> {
    let keys = unpickle(rest)?;
    let Node::List(list) = keys.root() else {
        return Err("the list of storages is missing".to_owned());
    };
    let mut out = BTreeMap::new();
    for id in list {
        let key = keys.str(*id).ok_or("a storage has no key")?;
        let (width, float) = *kinds.get(key).ok_or("a storage belongs to no tensor")?;
        let cut = || format!("storage `{key}` is cut off");
        let (count, data) = rest.split_at_checked(8).ok_or_else(cut)?;
        let count = count.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
        let bytes = usize::try_from(count).ok().and_then(|c| c.checked_mul(width));
        let (data, behind) = bytes.and_then(|b| data.split_at_checked(b)).ok_or_else(cut)?;
        *rest = behind;
        if float {
            let value = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            out.insert(key.to_owned(), data.chunks_exact(4).map(value).collect());
        }
    }
    Ok(out)
}

/// Copies each view into row-major order.
fn gather(
    views: Vec<View>,
    storages: &BTreeMap<String, Vec<f32>>,
) -> Result<BTreeMap<String, HostTensor>, String> {
    let mut out = BTreeMap::new();
    let mut total = 0usize;
    for view in views {
        let Some(storage) = storages.get(&view.storage) else { continue };
        let count = checked_count(&view, storage.len())
            .ok_or_else(|| format!("`{}` reaches outside its storage", view.name))?;
        // Views may overlap, so the file's size alone does not bound the copies.
        total += count;
        if total > VALUES_MAX {
            return Err(format!("the tensors have more than {VALUES_MAX} values"));
        }
        let values = (0..count).map(|i| storage[position(&view, i)]).collect();
        out.insert(view.name, HostTensor { shape: view.shape, values });
    }
    Ok(out)
}

/// Number of values of the view if all of them lie inside the storage.
fn checked_count(view: &View, storage: usize) -> Option<usize> {
    let count = view.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    if count == 0 || count > VALUES_MAX {
        return (count == 0).then_some(0);
    }
    let last = view
        .shape
        .iter()
        .zip(&view.strides)
        .try_fold(view.offset, |at, (d, s)| at.checked_add((d - 1).checked_mul(*s)?))?;
    (last < storage).then_some(count)
}

/// Where row-major value `index` of the view lies in its storage.
fn position(view: &View, mut index: usize) -> usize {
    let mut at = view.offset;
    for (d, s) in view.shape.iter().zip(&view.strides).rev() {
        at += index % d * s;
        index /= d;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: &[usize], strides: &[usize], offset: usize) -> View {
        View {
            name: "t".to_owned(),
            storage: "0".to_owned(),
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        }
    }

    #[test]
    fn strides_that_are_not_row_major_are_honoured() {
        let storage = BTreeMap::from([("0".to_owned(), (0..7).map(|v| v as f32).collect())]);
        let out = gather(vec![view(&[2, 3], &[1, 2], 1)], &storage).unwrap();
        assert_eq!(out["t"].values, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    }

    #[test]
    fn views_outside_their_storage_are_refused() {
        for (shape, strides, offset) in [
            (&[2, 3][..], &[1, 2][..], 2),
            (&[2], &[usize::MAX], 0),
            (&[usize::MAX, 2], &[0, 0], 0),
            (&[1], &[0], 7),
        ] {
            let v = view(shape, strides, offset);
            assert_eq!(checked_count(&v, 7), None, "{shape:?} {strides:?} {offset}");
        }
    }

    #[test]
    fn overlapping_views_cannot_grow_without_bound() {
        let storage = BTreeMap::from([("0".to_owned(), vec![0.0; 1])]);
        let views = (0..3).map(|_| view(&[VALUES_MAX / 2], &[0], 0)).collect();
        assert!(gather(views, &storage).unwrap_err().contains("more than"));
    }
}
