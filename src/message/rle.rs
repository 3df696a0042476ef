//! COCO run-length encoding, byte for byte that of `pycocotools` (`rleToString`).
//!
//! The mask is read column by column; runs alternate between 0 and 1 and begin with 0. From the
//! third on, a run is stored as its difference to the run two before, then in groups of five
//! bits, least significant first, with a continuation bit, as characters from 48 on.

/// Run lengths of a row-major mask (non-zero = 1), read column by column.
fn runs(width: usize, height: usize, pixels: &[u8]) -> Vec<i64> {
    let mut runs = Vec::new();
    let (mut current, mut length) = (false, 0);
    for x in 0..width {
        for y in 0..height {
            let bit = pixels[y * width + x] != 0;
            if bit != current {
                runs.push(length);
                (current, length) = (bit, 0);
            }
            length += 1;
        }
    }
    runs.push(length);
    runs
}

/// Encodes a row-major mask of `width * height` bytes.
pub(super) fn encode(width: usize, height: usize, pixels: &[u8]) -> String {
    let runs = runs(width, height, pixels);
    let mut out = String::new();
    for (i, &run) in runs.iter().enumerate() {
        let mut rest = if i > 2 { run - runs[i - 2] } else { run };
        loop {
            let group = (rest & 0x1f) as u8;
            rest >>= 5;
            let more = if group & 0x10 != 0 { rest != -1 } else { rest != 0 };
            out.push(char::from(48 + (group | if more { 0x20 } else { 0 })));
            if !more {
                break;
            }
        }
    }
    out
}

/// Decodes to `width * height` row-major bytes, 0 or 1; `None` when the text is not such a mask.
pub(super) fn decode(width: usize, height: usize, text: &str) -> Option<Vec<u8>> {
    let mut runs: Vec<i64> = Vec::new();
    let mut bytes = text.bytes();
    while bytes.len() > 0 {
        let (mut value, mut shift) = (0i64, 0u32);
        loop {
            let c = i64::from(bytes.next()?.checked_sub(48)?);
            if c > 0x3f || shift > 55 {
                return None;
            }
            value |= (c & 0x1f) << shift;
            shift += 5;
            if c & 0x20 == 0 {
                if c & 0x10 != 0 {
                    value |= -1 << shift;
                }
                break;
            }
        }
        if runs.len() > 2 {
            value = value.checked_add(runs[runs.len() - 2])?;
        }
        runs.push(value);
    }
    let total = width.checked_mul(height)?;
    let mut pixels = vec![0; total];
    let mut at = 0usize;
    for (i, &run) in runs.iter().enumerate() {
        let end = at.checked_add(usize::try_from(run).ok()?).filter(|&end| end <= total)?;
        if i % 2 == 1 {
            for k in at..end {
                pixels[(k % height) * width + k / height] = 1;
            }
        }
        at = end;
    }
    (at == total).then_some(pixels)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_texts_of_pycocotools_are_reproduced() {
        // pycocotools.mask.encode(np.asfortranarray(mask))["counts"] of these masks.
        let square = [0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0];
        assert_eq!(encode(4, 4, &square), "52203");
        assert_eq!(encode(3, 2, &[1; 6]), "06");
        assert_eq!(encode(3, 2, &[0; 6]), "6");

        let draw = |width: i64, height: i64, set: fn(i64, i64) -> bool| -> String {
            let at = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
            let pixels: Vec<u8> = at.map(|(x, y)| u8::from(set(x, y))).collect();
            encode(width as usize, height as usize, &pixels)
        };
        // A disc, diagonal lines and a band: differences of both signs, several characters each.
        let mixed = |x: i64, y: i64| {
            (x - 30).pow(2) + (y - 20).pow(2) <= 81 || (x * 7 + y * 3) % 41 == 0 || x >= 55
        };
        assert_eq!(
            draw(60, 50, mixed),
            "01X10I000Y10gN00070I000Y10gN00070I000Y10gN00070I000Y10gN00070\\O0H0d08JHC:3F5<<DQO>P12TO@d0`0N@@`07@2`0?20NXO@`0`02@\\O`0;@N`0B@o0>4NXOD=:6FYO8?HN0F0f000070I000Y10gN00070I000Y10gN00070I000Y10QNi7"
        );
        // Long runs take four characters.
        let band = |x: i64, y: i64| (200..210).contains(&x) && y >= 100;
        assert_eq!(draw(300, 512, band), "TST3l<T300000000000000000ll\\1");
    }

    #[test]
    fn texts_that_are_no_mask_of_the_size_are_refused() {
        for bad in ["7", "5", "\u{7f}", "P", "6P", "oooooooooooooooooooo", "0N"] {
            assert_eq!(decode(3, 2, bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_mask_reads_back(width in 1usize..40, height in 1usize..40, seed in any::<u64>()) {
            let mut state = seed | 1;
            let pixels: Vec<u8> = (0..width * height).map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                u8::from(state >> 60 == 0)
            }).collect();
            prop_assert_eq!(decode(width, height, &encode(width, height, &pixels)), Some(pixels));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,40}") {
            let _ = decode(7, 5, &text);
        }
    }
}
