//! Data-set reading on folders made by the tests.

use super::*;

fn write_picture(path: &Path, side: u32, tone: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let pixel = image::Rgb([tone, tone / 2, 255 - tone]);
    image::RgbImage::from_pixel(side, side, pixel).save(path).unwrap();
}

fn sample(dir: &Path) {
    for (class, count) in [("nut", 5), ("bolt", 3)] {
        for k in 0..count {
            write_picture(&dir.join(format!("{class}/train/good/{k:03}.png")), 40, 40 * k as u8);
        }
    }
    write_picture(&dir.join("bolt/test/good/000.png"), 40, 9);
}

#[test]
fn classes_and_pictures_come_in_name_order_and_only_from_train_good() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    write_picture(&dir.path().join("nut/train/good/999.BMP"), 40, 77);
    std::fs::write(dir.path().join("nut/train/good/notes.txt"), "no picture").unwrap();
    let set = Dataset::load(dir.path(), 32).unwrap();
    assert_eq!(set.classes, ["bolt", "nut"]);
    assert_eq!(set.counts(), [3, 6]);
    let mut paths: Vec<_> = set.images.iter().map(|i| i.path.clone()).collect();
    assert!(paths.is_sorted());
    paths.dedup();
    assert_eq!(paths.len(), 9);
    assert!(set.images.iter().all(|i| i.rgb.len() == 32 * 32 * 3));
    assert_eq!(set.images[1].rgb[..3], [40, 20, 215]);
}

#[test]
fn the_hash_follows_names_and_contents_and_nothing_else() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    dirs.iter().for_each(|d| sample(d.path()));
    let hash = |d: &tempfile::TempDir| Dataset::load(d.path(), 16).unwrap().sha256;
    let first = hash(&dirs[0]);
    assert_eq!(first.len(), 64);
    assert_eq!(first, hash(&dirs[1]), "another place, the same data");
    write_picture(&dirs[1].path().join("nut/train/good/000.png"), 40, 1);
    assert_ne!(first, hash(&dirs[1]), "another picture under the same name");
    let nut = dirs[0].path().join("nut/train/good");
    std::fs::rename(nut.join("004.png"), nut.join("005.png")).unwrap();
    assert_ne!(first, hash(&dirs[0]), "the same picture under another name");
}

#[test]
fn unreadable_pictures_are_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    std::fs::write(dir.path().join("nut/train/good/bad.png"), b"\x89PNG broken").unwrap();
    std::fs::write(dir.path().join("nut/train/good/zero.jpg"), b"").unwrap();
    let set = Dataset::load(dir.path(), 16).unwrap();
    assert_eq!((set.images.len(), set.left_out.len()), (8, 2));
    let why: Vec<&str> = set.left_out.iter().map(|l| l.reason.as_str()).collect();
    assert!(why[0].contains("not a picture") && why[1].contains("empty"), "{why:?}");
}

#[test]
fn grey_sixteen_bit_and_other_sizes_are_pictures_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("nut/train/good");
    std::fs::create_dir_all(&good).unwrap();
    let shade = |x: u32, y: u32| ((x * 3 + y) % 256) as u8;
    let grey = image::GrayImage::from_fn(80, 60, |x, y| image::Luma([shade(x, y)]));
    grey.save(good.join("0.png")).unwrap();
    let deep = image::DynamicImage::ImageLuma8(grey.clone()).into_luma16();
    deep.save(good.join("1.png")).unwrap();
    image::DynamicImage::ImageLuma16(deep).into_rgb16().save(good.join("2.tiff")).unwrap();
    image::imageops::resize(&grey, 40, 30, image::imageops::FilterType::Triangle)
        .save(good.join("3.jpg"))
        .unwrap();
    let set = Dataset::load(dir.path(), 32).unwrap();
    assert_eq!((set.images.len(), set.left_out.len()), (4, 0));
    assert_eq!(set.images[0].rgb, set.images[1].rgb, "16 bits are the same picture");
    assert_eq!(set.images[0].rgb, set.images[2].rgb, "and so is grey as RGB");
    let bits: Vec<u16> = set.images.iter().map(|i| i.look.pixels.bits).collect();
    assert_eq!(bits, [8, 16, 16, 8]);
    assert_eq!((set.images[3].look.width, set.images[3].look.height), (40, 30));
}

#[test]
fn what_cannot_be_trained_on_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let kind = |d: &Path| Dataset::load(d, 16).unwrap_err().kind();
    assert_eq!(kind(&dir.path().join("missing")), DatasetErrorKind::Unreadable);
    assert_eq!(kind(dir.path()), DatasetErrorKind::NoClass);
    std::fs::create_dir_all(dir.path().join("nut/train/good")).unwrap();
    let error = Dataset::load(dir.path(), 16).unwrap_err();
    assert_eq!(error.kind(), DatasetErrorKind::EmptyClass);
    assert!(error.to_string().contains("nut"), "{error}");
}

#[test]
fn the_split_is_stable_by_seed_and_name_and_leaves_every_class_a_picture() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    write_picture(&dir.path().join("rare/train/good/only.png"), 40, 9);
    let set = Dataset::load(dir.path(), 16).unwrap();
    let split = set.split(0.2, 7);
    assert_eq!(split, set.split(0.2, 7));
    let mut all = [split.train.clone(), split.held_out.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..9).collect::<Vec<_>>());
    for class in 0..3 {
        assert!(split.train.iter().any(|&i| set.images[i].class == class), "class {class}");
    }
    assert_eq!(split.held_out.len(), 2, "one of bolt, one of nut, none of a single picture");
    let names = |set: &Dataset, split: &Split| -> Vec<String> {
        split.held_out.iter().map(|&i| set.images[i].path.display().to_string()).collect()
    };
    let before = names(&set, &split);
    write_picture(&dir.path().join("bolt/train/good/zzz.png"), 40, 200);
    let grown = Dataset::load(dir.path(), 16).unwrap();
    let after = names(&grown, &grown.split(0.2, 7));
    assert!(before.iter().filter(|n| after.contains(n)).count() >= before.len() - 1);
}
