//! The journal against a simple model, and its promises one by one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn notice(epoch: u32, notice: &Notice) -> Vec<u8> {
    format!("{epoch} {notice:?}").into_bytes()
}

fn options() -> Options {
    Options { sync: Sync::Normal, bytes_max: Options::BYTES_DEFAULT, age_days_max: 0, notice }
}

fn entry(epoch: u32, seq: u32, mask: Option<usize>) -> Entry {
    Entry {
        epoch,
        seq,
        kind: RowKind::Verdict,
        at_unix_s: 1_000_000 + u64::from(seq),
        payload: format!("{{\"q\":{seq},\"e\":{epoch}}}").into_bytes(),
        detail: format!("detail of {seq}").into_bytes(),
        mask: mask.map(|bytes| vec![seq as u8; bytes]),
    }
}

fn all(reader: &mut Reader, after: RowId) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let from = rows.last().map_or(after, |row| row.id);
        let page = reader.after(from, 7).unwrap();
        if page.is_empty() {
            return rows;
        }
        rows.extend(page);
    }
}

/// What a kill of the process leaves: the database and its log as they lie in the page cache.
fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in ["journal.db", "journal.db-wal", "journal.tail", "epoch"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Option<u16>>),
    Acknowledge(u8),
    Settle,
    Close,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let mask = prop_oneof![3 => Just(None), 1 => (0u16..3000).prop_map(Some)];
    prop_oneof![
        5 => proptest::collection::vec(mask, 0..80).prop_map(Step::Append),
        3 => any::<u8>().prop_map(Step::Acknowledge),
        2 => Just(Step::Settle),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_journal_is_its_model_whatever_is_done_and_wherever_it_is_killed(
        steps in proptest::collection::vec(step(), 1..25),
    ) {
        let root = tempfile::tempdir().unwrap();
        let mut dir = root.path().join("0");
        let (mut writer, mut reader, mut opened) = Journal::open(&dir, &options()).unwrap();
        let mut model: BTreeMap<RowId, Entry> = BTreeMap::new();
        let (mut acknowledged, mut stored) = (0, 0);
        let mut seq = 0;
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append(masks) => {
                    let entries: Vec<Entry> = masks
                        .into_iter()
                        .map(|mask| {
                            seq += 1;
                            entry(opened.epoch, seq, mask.map(usize::from))
                        })
                        .collect();
                    let ids = writer.append(&entries).unwrap();
                    prop_assert_eq!(ids.end - ids.start, entries.len() as u64);
                    if !entries.is_empty() {
                        stored = acknowledged;
                    }
                    model.extend(ids.zip(entries));
                }
                Step::Acknowledge(share) => {
                    let newest = model.keys().last().copied().unwrap_or(0);
                    let to = newest * u64::from(share) / 255;
                    reader.acknowledge(to).unwrap();
                    acknowledged = acknowledged.max(to);
                }
                Step::Settle => {
                    writer.settle().unwrap();
                    if acknowledged >= stored + 64 {
                        stored = acknowledged;
                    }
                }
                Step::Close | Step::Kill => {
                    let epoch = opened.epoch;
                    if matches!(step, Step::Kill) {
                        let copy = root.path().join(format!("{}", at + 1));
                        copy_files(&dir, &copy);
                        dir = copy;
                    } else {
                        stored = acknowledged;
                    }
                    drop(reader);
                    writer.close().unwrap();
                    (writer, reader, opened) = Journal::open(&dir, &options()).unwrap();
                    prop_assert_eq!(opened.epoch, epoch + 1);
                    prop_assert_eq!(&opened.restarted, &None);
                    // It may also have been stored along with rows that went to the database.
                    prop_assert!((stored..=acknowledged).contains(&opened.cursor));
                    (stored, acknowledged) = (opened.cursor, opened.cursor);
                }
            }
            let rows = all(&mut reader, 0);
            prop_assert_eq!(rows.len(), model.len());
            for (row, (id, entry)) in rows.iter().zip(&model) {
                prop_assert_eq!(row.id, *id);
                prop_assert_eq!((row.epoch, row.seq), (entry.epoch, entry.seq));
                prop_assert_eq!(&row.payload, &entry.payload);
                prop_assert_eq!(&row.mask, &entry.mask);
            }
            prop_assert_eq!(reader.cursor(), acknowledged);
        }
    }
}

#[test]
fn a_tail_torn_at_any_byte_opens_to_whole_commits_in_order() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("live");
    let (mut writer, _reader, opened) = Journal::open(&dir, &options()).unwrap();
    let mut sizes = Vec::new();
    for commit in 0..6u32 {
        let entries: Vec<_> =
            (0..=commit).map(|n| entry(opened.epoch, 10 * commit + n, Some(50))).collect();
        writer.append(&entries).unwrap();
        sizes.push(entries.len());
    }
    let tail = fs::read(dir.join("journal.tail")).unwrap();
    let used = tail.len() - tail.iter().rev().take_while(|byte| **byte == 0).count();
    let mut seen = std::collections::BTreeSet::new();
    for cut in (0..=used).step_by(211).chain([used]) {
        let copy = root.path().join(format!("cut-{cut}"));
        copy_files(&dir, &copy);
        // What was not written is what lay there before: zeros, or nothing.
        let torn = [&tail[..cut], &vec![0; if cut % 2 == 0 { tail.len() - cut } else { 0 }]];
        fs::write(copy.join("journal.tail"), torn.concat()).unwrap();
        let (writer, mut reader, found) = Journal::open(&copy, &options()).unwrap();
        assert_eq!(found.restarted, None, "cut at {cut}");
        assert!(found.epoch > opened.epoch, "cut at {cut}");
        let rows = all(&mut reader, 0).len();
        let commits = (0..=sizes.len()).find(|n| sizes[..*n].iter().sum::<usize>() == rows);
        seen.insert(commits.unwrap_or_else(|| panic!("cut at {cut}: {rows} rows")));
        drop(writer);
        fs::remove_dir_all(copy).unwrap();
    }
    assert_eq!(seen.len(), sizes.len() + 1, "every number of commits was met: {seen:?}");
}

#[test]
fn a_second_daemon_is_kept_out_with_a_clear_word() {
    let dir = tempfile::tempdir().unwrap();
    let held = Journal::open(dir.path(), &options()).unwrap();
    let error = Journal::open(dir.path(), &options()).unwrap_err();
    assert_eq!(error.kind(), JournalErrorKind::Locked);
    assert!(error.to_string().contains("another process"), "{error}");
    drop(held);
    assert_eq!(Journal::open(dir.path(), &options()).unwrap().2.epoch, 2);
}

#[test]
fn a_folder_that_cannot_be_written_is_named_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for bad in [file.clone(), file.join("below"), "/proc/crrd".into()] {
        let error = Journal::open(&bad, &options()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(bad.to_str().unwrap()), "{text}");
        assert!(matches!(error.kind(), JournalErrorKind::Unwritable | JournalErrorKind::Io));
    }
}

#[test]
fn a_full_disk_refuses_the_append_whole_and_takes_it_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    writer.append(&[entry(opened.epoch, 1, None)]).unwrap();
    let limit = |writer: &Writer, pages: u32| {
        let sql = format!("PRAGMA max_page_count = {pages}");
        writer.connection().query_row(&sql, [], |_| Ok(())).unwrap();
    };
    limit(&writer, 1);
    // Larger than the tail, so it goes straight to the database.
    let batch: Vec<_> = (2..40).map(|seq| entry(opened.epoch, seq, Some(40_000))).collect();
    let error = writer.append(&batch).unwrap_err();
    assert_eq!(error.kind(), JournalErrorKind::DiskFull, "{error}");
    assert!(error.to_string().contains("free disk space"), "{error}");
    assert_eq!(all(&mut reader, 0).len(), 1, "nothing of the batch is in the journal");
    assert_eq!(reader.newest(), 1);
    limit(&writer, 1 << 20);
    assert_eq!(writer.append(&batch).unwrap(), 2..40);
    assert_eq!(all(&mut reader, 0).len(), 39);
}

#[test]
fn a_database_that_cannot_be_written_costs_nothing_until_the_tail_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    let limit = |writer: &Writer, pages: u32| {
        let sql = format!("PRAGMA max_page_count = {pages}");
        writer.connection().query_row(&sql, [], |_| Ok(())).unwrap();
    };
    limit(&writer, 1);
    let (mut taken, mut complaints) = (0, 0);
    let error = loop {
        match writer.append(&[entry(opened.epoch, taken + 1, Some(1500))]) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        complaints += u32::from(writer.settle().is_err());
    };
    assert_eq!(error.kind(), JournalErrorKind::DiskFull, "{error}");
    assert!(taken > 400, "{taken} verdicts found room");
    assert!((1..taken / 10).contains(&complaints), "{complaints}: told, and not at every verdict");
    assert!(writer.is_behind());
    assert_eq!(all(&mut reader, 0).len(), taken as usize);
    // Killed now: nothing is lost.
    let copy = dir.path().join("copy");
    copy_files(dir.path(), &copy);
    let (_w, mut copied, again) = Journal::open(&copy, &options()).unwrap();
    assert_eq!(again.newest, u64::from(taken));
    assert_eq!(all(&mut copied, 0), all(&mut reader, 0));
    // Room again: it goes on by itself.
    limit(&writer, 1 << 20);
    writer.append(&[entry(opened.epoch, taken + 1, None)]).unwrap();
    assert!(!writer.is_behind());
    let seqs: Vec<u32> = all(&mut reader, 0).iter().map(|row| row.seq).collect();
    assert_eq!(seqs, (1..=taken + 1).collect::<Vec<_>>());
}

#[test]
fn a_view_shows_everything_while_the_journal_is_written_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(View::open(dir.path()).unwrap_err().kind(), JournalErrorKind::Missing);
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    let mut seq = 0;
    for in_tail in [300u64, 0, 10] {
        let batch: Vec<_> = (0..in_tail)
            .map(|_| {
                seq += 1;
                entry(opened.epoch, seq, Some(9))
            })
            .collect();
        writer.append(&batch).unwrap();
        let view = View::open(dir.path()).unwrap();
        let facts = view.facts().unwrap();
        assert_eq!(facts.in_tail, in_tail);
        assert_eq!((facts.newest, facts.epoch_database), (u64::from(seq), 1));
        assert_eq!(facts.epoch_file, Some(1));
        // What moves to the database while it is looked at is not missed.
        writer.store(&[]).unwrap();
        let rows = view.after(0, 1000).unwrap();
        let seen: Vec<u32> = rows.iter().map(|row| row.entry.seq).collect();
        assert_eq!(seen, (1..=seq).collect::<Vec<_>>());
        assert_eq!(rows[0].entry, entry(opened.epoch, 1, Some(9)));
        assert_eq!(view.damage().unwrap(), Vec::<String>::new());
    }
    reader.acknowledge(5).unwrap();
    drop(reader);
    writer.close().unwrap();
    let before: Vec<_> = names(dir.path());
    assert_eq!(View::open(dir.path()).unwrap().facts().unwrap().cursor, 5);
    assert_eq!(names(dir.path()), before, "a look leaves nothing behind");
}

fn names(dir: &Path) -> Vec<(String, u64)> {
    let file = |item: std::io::Result<fs::DirEntry>| {
        let item = item.unwrap();
        (item.file_name().into_string().unwrap(), item.metadata().unwrap().len())
    };
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(file).collect();
    names.sort();
    names
}

#[test]
fn a_damaged_database_is_moved_aside_and_the_epoch_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        drop(Journal::open(dir.path(), &options()).unwrap());
    }
    fs::write(dir.path().join("journal.db"), vec![0xA5; 20_000]).unwrap();
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    assert_eq!(opened.epoch, 4);
    let restarted = opened.restarted.unwrap();
    assert_eq!(fs::read(&restarted.moved_to).unwrap(), vec![0xA5; 20_000]);
    let rows = all(&mut reader, 0);
    assert_eq!(rows.len(), 1, "the loss is an event to deliver");
    assert_eq!(rows[0].kind, RowKind::Event);
    assert!(String::from_utf8_lossy(&rows[0].payload).contains("Restarted"));
    writer.append(&[entry(4, 1, None)]).unwrap();
    assert_eq!(all(&mut reader, 0).len(), 2);
}

#[test]
fn a_database_cut_short_anywhere_opens_and_says_what_it_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    let batch: Vec<_> = (1..=300).map(|seq| entry(opened.epoch, seq, Some(400))).collect();
    writer.append(&batch).unwrap();
    drop(reader);
    writer.close().unwrap();
    let whole = fs::read(dir.path().join("journal.db")).unwrap();
    let mut fresh = 0;
    for cut in (0..whole.len()).step_by(2_500) {
        let copy = dir.path().join(format!("cut-{cut}"));
        fs::create_dir(&copy).unwrap();
        fs::copy(dir.path().join("epoch"), copy.join("epoch")).unwrap();
        fs::write(copy.join("journal.db"), &whole[..cut]).unwrap();
        let (mut writer, mut reader, found) = Journal::open(&copy, &options()).unwrap();
        assert_eq!(found.epoch, opened.epoch + 1, "cut at {cut}");
        let rows = all(&mut reader, 0);
        let told = rows.iter().any(|row| row.kind == RowKind::Event);
        assert_eq!(told, found.restarted.is_some(), "cut at {cut}");
        fresh += u32::from(told);
        writer.append(&[entry(found.epoch, 1, None)]).unwrap();
    }
    assert!(fresh > 20, "{fresh}");
}

#[test]
fn undelivered_rows_of_a_damaged_database_are_carried_over() {
    let readable = carried_over(false);
    assert!((300..1500).contains(&readable), "{readable}: the rows before the damage");
    assert_eq!(carried_over(true), 1500, "the tail has what the database lost");
}

/// Damages a database of 2000 rows, 500 of them delivered; with its tail or without.
fn carried_over(with_tail: bool) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    let batch: Vec<_> = (1..=2000).map(|seq| entry(opened.epoch, seq, Some(40))).collect();
    writer.append(&batch).unwrap();
    reader.acknowledge(500).unwrap();
    drop(reader);
    writer.close().unwrap();
    // Damage the page of a row near the end: the tables' roots and the rows before stay readable.
    let path = dir.path().join("journal.db");
    let mut bytes = fs::read(&path).unwrap();
    let row = &batch[1399].payload;
    let at = bytes.windows(row.len()).position(|bytes| bytes == row).unwrap() / 4096 * 4096;
    bytes[at..at + 4096].fill(0xFF);
    fs::write(&path, bytes).unwrap();
    if !with_tail {
        fs::remove_file(dir.path().join("journal.tail")).unwrap();
    }

    let (_writer, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    let restarted = opened.restarted.expect("the damage was found");
    assert!(restarted.carried_over > 0, "{restarted:?}");
    let rows = all(&mut reader, 0);
    let verdicts: Vec<_> = rows.iter().filter(|row| row.kind == RowKind::Verdict).collect();
    assert_eq!(verdicts.len() as u64, restarted.carried_over);
    for (row, seq) in verdicts.iter().zip(501..) {
        assert_eq!((row.epoch, row.seq), (1, seq), "in order, from the cursor on");
        assert_eq!(row.payload, batch[seq as usize - 1].payload);
        assert_eq!(row.id, u64::from(seq), "under its number");
    }
    restarted.carried_over
}

#[test]
fn a_lost_epoch_file_or_database_never_brings_an_epoch_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for lost in ["epoch", "journal.db", "epoch", "none"] {
        for _ in 0..2 {
            let (writer, reader, opened) = Journal::open(dir.path(), &options()).unwrap();
            assert_eq!(opened.epoch, last + 1);
            last = opened.epoch;
            drop(reader);
            writer.close().unwrap();
        }
        let _ = fs::remove_file(dir.path().join(lost));
    }
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, reader, _) = Journal::open(dir.path(), &options()).unwrap();
    writer.connection().pragma_update(None, "user_version", 3).unwrap();
    drop(reader);
    writer.close().unwrap();
    let error = Journal::open(dir.path(), &options()).unwrap_err();
    assert_eq!(error.kind(), JournalErrorKind::Foreign, "{error}");
    assert!(dir.path().join("journal.db").exists());
}

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
fn acknowledging_what_was_never_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    writer.append(&[entry(opened.epoch, 1, None)]).unwrap();
    assert_eq!(reader.acknowledge(2).unwrap_err().kind(), JournalErrorKind::Option);
    assert_eq!(reader.cursor(), 0);
    reader.acknowledge(1).unwrap();
    assert_eq!(reader.cursor(), 1);
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

#[test]
fn acknowledgements_after_the_writer_closed_are_not_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    let batch: Vec<_> = (1..=10).map(|seq| entry(opened.epoch, seq, None)).collect();
    writer.append(&batch).unwrap();
    reader.acknowledge(3).unwrap();
    writer.close().unwrap();
    reader.acknowledge(7).unwrap();
    let error = Journal::open(dir.path(), &options()).unwrap_err();
    assert_eq!(error.kind(), JournalErrorKind::Locked, "the reader still delivers");
    drop(reader);
    assert_eq!(Journal::open(dir.path(), &options()).unwrap().2.cursor, 7);
}
