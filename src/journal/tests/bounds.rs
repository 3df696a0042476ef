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
    // Room is made of what is in the database before more comes.
    writer.store(&[]).unwrap();
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

/// A third of a page, so that a bound is reached with few rows.
fn large(epoch: u32, seq: u32, kind: RowKind) -> Entry {
    let seq = if kind == RowKind::Event { 0 } else { seq };
    Entry { kind, detail: vec![b'd'; 1250], ..entry(epoch, seq, None) }
}

/// Rows that notices with this name count.
pub(super) fn told(rows: &[Row], notice: &str) -> u64 {
    let count = |row: &Row| {
        let text = String::from_utf8_lossy(&row.payload).into_owned();
        let rest = text.split_once(notice)?.1.split_once("rows: ")?.1.to_owned();
        rest.split([',', ' ']).next()?.parse::<u64>().ok()
    };
    rows.iter().filter_map(count).sum()
}

#[test]
fn a_bound_far_below_the_file_is_kept_from_the_next_start_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    for first in (1..=18_000).step_by(400) {
        let batch: Vec<_> =
            (first..first + 400).map(|n| large(opened.epoch, n, RowKind::Verdict)).collect();
        writer.append(&batch).unwrap();
        writer.settle().unwrap();
    }
    assert!(writer.stats().bytes > (1 << 20) + (16 << 20), "beyond the room above the bound");
    reader.acknowledge(reader.newest() - 10).unwrap();
    drop(reader);
    writer.close().unwrap();

    for start in 0..3 {
        let (mut writer, mut reader, opened) = Journal::open(dir.path(), &small(1 << 20)).unwrap();
        for first in (1..=900).step_by(3) {
            let batch = [0, 1, 2].map(|n| large(opened.epoch, first + n, RowKind::Verdict));
            writer.append(&batch).unwrap();
            writer.settle().unwrap();
            assert!(!writer.is_behind());
            reader.acknowledge(reader.newest() - 10).unwrap();
        }
        let stats = writer.stats();
        assert_eq!(stats.lost_rows, 0, "start {start}: {stats:?}");
        let cursor = reader.cursor();
        assert_eq!(all(&mut reader, cursor).len(), 10);
    }
    let (writer, ..) = Journal::open(dir.path(), &small(1 << 20)).unwrap();
    assert!(writer.stats().bytes < 3 << 20, "{:?}", writer.stats());
}

#[test]
fn late_results_of_a_long_outage_go_with_the_verdicts_they_belong_to() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &small(1 << 20)).unwrap();
    for first in (1..=20_000).step_by(10) {
        let part =
            |seq| [entry(opened.epoch, seq, None), large(opened.epoch, seq, RowKind::LateResult)];
        writer.append(&(first..first + 10).flat_map(part).collect::<Vec<_>>()).unwrap();
        writer.settle().unwrap();
        assert!(!writer.is_behind(), "part {first}");
    }
    let (rows, stats) = (all(&mut reader, 0), writer.stats());
    assert!(stats.bytes < 2 << 20, "{stats:?}");
    let kept = |kind| rows.iter().filter(|row| row.kind == kind).count() as u64;
    let late_dropped = told(&rows, "LateResultsDropped");
    assert_eq!(kept(RowKind::LateResult) + late_dropped, 20_000);
    let verdicts_dropped = told(&rows, "RowsDropped");
    assert_eq!(kept(RowKind::Verdict) + verdicts_dropped, 20_000);
    assert!(late_dropped.abs_diff(verdicts_dropped) <= 1, "the oldest of both went");
    assert_eq!(late_dropped + verdicts_dropped, stats.lost_rows);
    // The broker is back: everything goes out, and what comes finds its place.
    reader.acknowledge(reader.newest()).unwrap();
    for seq in 20_001..=21_000 {
        writer.append(&[large(opened.epoch, seq, RowKind::Verdict)]).unwrap();
        writer.settle().unwrap();
        reader.acknowledge(reader.newest()).unwrap();
    }
    assert_eq!(writer.stats().lost_rows, stats.lost_rows, "nothing more is lost");
}

#[test]
fn events_of_a_long_outage_neither_fill_the_journal_nor_push_out_every_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &small(16 << 20)).unwrap();
    for first in (1..=20_000).step_by(50) {
        let part =
            |seq| [RowKind::Verdict, RowKind::Event].map(|kind| large(opened.epoch, seq, kind));
        writer.append(&(first..first + 50).flat_map(part).collect::<Vec<_>>()).unwrap();
        writer.settle().unwrap();
        assert!(!writer.is_behind(), "part {first}");
    }
    let (rows, stats) = (all(&mut reader, 0), writer.stats());
    assert!(stats.bytes < 17 << 20, "{stats:?}");
    let verdicts = rows.iter().filter(|row| row.kind == RowKind::Verdict).count() as u64;
    assert!(verdicts > 1_000, "{verdicts} verdicts are kept");
    assert_eq!(verdicts + told(&rows, "RowsDropped"), 20_000);
    let events_dropped = told(&rows, "EventsDropped");
    assert!(events_dropped > 5_000, "{events_dropped}");
    let is_notice = |row: &&Row| String::from_utf8_lossy(&row.payload).contains("Dropped");
    let events = rows.iter().filter(|row| row.kind == RowKind::Event);
    let events = events.filter(|row| !is_notice(row)).count() as u64;
    assert_eq!(events + events_dropped, 20_000, "each event is kept or counted");
    assert_eq!(told(&rows, "RowsDropped") + events_dropped, stats.lost_rows);
}
