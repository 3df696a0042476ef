//! What has to go when there is no room, and that it is told.

use super::*;

fn small(bytes_max: u64) -> Options {
    Options { bytes_max, ..options() }
}

/// Appends verdicts with masks until `bytes` were offered; returns how many.
fn fill(writer: &mut Writer, first_seq: u32, bytes: u64) -> u32 {
    let mut seq = first_seq;
    let mut offered = 0;
    while offered < bytes {
        let batch: Vec<_> = (0..50).map(|n| entry(writer.epoch(), seq + n, Some(100))).collect();
        writer.append(&batch).unwrap();
        writer.settle().unwrap();
        seq += 50;
        offered += 50 * 200;
    }
    seq - first_seq
}

#[test]
fn delivered_masks_and_rows_make_room_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader, _) = Journal::open(dir.path(), &small(1 << 20)).unwrap();
    let mut seq = 1;
    for _ in 0..50 {
        seq += fill(&mut writer, seq, 100_000);
        reader.acknowledge(reader.newest()).unwrap();
    }
    let stats = writer.stats();
    assert_eq!((stats.lost_rows, stats.lost_masks), (0, 0));
    assert!(stats.bytes <= (1 << 20) + 300_000, "{stats:?}");
    assert!(stats.trimmed > 1000, "{stats:?}");
    assert!(all(&mut reader, 0).iter().all(|row| row.kind == RowKind::Verdict), "no notice");
    let (_, _, again) = {
        drop(reader);
        writer.close().unwrap();
        Journal::open(dir.path(), &small(1 << 20)).unwrap()
    };
    assert_eq!(again.newest, u64::from(seq) - 1, "row numbers are not used again");
}

#[test]
fn what_is_lost_undelivered_is_told_to_the_row() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader, _) = Journal::open(dir.path(), &small(1 << 20)).unwrap();
    let offered = fill(&mut writer, 1, 20 << 20);
    let stats = writer.stats();
    assert!(stats.lost_rows > 1000 && stats.lost_masks > stats.lost_rows, "{stats:?}");
    assert!(stats.bytes <= (1 << 20) + 600_000, "{stats:?}");
    let rows = all(&mut reader, 0);
    let kept = rows.iter().filter(|row| row.kind == RowKind::Verdict).count() as u64;
    assert_eq!(kept + stats.lost_rows, u64::from(offered), "every verdict is kept or counted");
    let (mut rows_told, mut masks_told) = (0, 0);
    for row in rows.iter().filter(|row| row.kind == RowKind::Event) {
        let text = String::from_utf8_lossy(&row.payload).into_owned();
        let count: u64 =
            text.split("rows: ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
        if text.contains("RowsDropped") { rows_told += count } else { masks_told += count }
    }
    assert_eq!((rows_told, masks_told), (stats.lost_rows, stats.lost_masks));
    let seqs: Vec<_> =
        rows.iter().filter(|row| row.kind == RowKind::Verdict).map(|row| row.seq).collect();
    assert_eq!(*seqs.last().unwrap(), offered, "the newest are kept");
    assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]), "the oldest went first");
}

#[test]
fn age_drops_delivered_rows_only() {
    let dir = tempfile::tempdir().unwrap();
    let aged = Options { age_days_max: 1, ..options() };
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &aged).unwrap();
    let batch: Vec<_> = (1..=100).map(|seq| entry(opened.epoch, seq, Some(10))).collect();
    writer.append(&batch).unwrap();
    reader.acknowledge(60).unwrap();
    let later = Entry { at_unix_s: 1_000_000 + 10 * 86_400, ..entry(opened.epoch, 101, None) };
    writer.append(std::slice::from_ref(&later)).unwrap();
    writer.store(&[]).unwrap();
    let seqs: Vec<_> = all(&mut reader, 0).iter().map(|row| row.seq).collect();
    assert_eq!(seqs, (61..=101).collect::<Vec<_>>());
    assert_eq!(writer.stats().trimmed, 60);
    assert_eq!(writer.stats().lost_rows, 0);
}

#[test]
fn a_group_larger_than_the_bound_is_kept_whole_until_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &small(1 << 20)).unwrap();
    let batch: Vec<_> = (1..=300).map(|seq| entry(opened.epoch, seq, Some(8000))).collect();
    writer.append(&batch).unwrap();
    let rows = all(&mut reader, 0);
    assert_eq!(rows.len(), 300);
    assert!(rows.iter().all(|row| row.mask.is_some()), "it is about to be published");
    writer.append(&[entry(opened.epoch, 301, None)]).unwrap();
    writer.store(&[]).unwrap();
    assert!(writer.stats().lost_masks >= 256, "{:?}", writer.stats());
}
