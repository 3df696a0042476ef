//! The journal against a simple model, and its promises one by one; its bounds and what it does
//! about damage in files of their own.

mod bounds;
mod damage;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::frame::ConsumerId;
use crate::message::Receipt;

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

fn receipt(name: &str, epoch: u32, seq: u32) -> Receipt {
    Receipt { consumer: ConsumerId::new(name).unwrap(), epoch, seq }
}

#[test]
fn receipts_outlive_an_end_in_order_and_after_a_while_a_kill() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("live");
    let (writer, reader, _) = Journal::open(&dir, &options()).unwrap();
    writer.receipts().note(receipt("mes", 1, 17));
    writer.receipts().note(receipt("hmi", 1, 9));
    drop(reader);
    writer.close().unwrap();
    let stored = [receipt("hmi", 1, 9), receipt("mes", 1, 17)];
    assert_eq!(View::open(&dir).unwrap().facts().unwrap().receipts, stored);

    let (mut writer, _reader, _) = Journal::open(&dir, &options()).unwrap();
    assert_eq!(writer.receipts().all(), stored);
    // A line that stands still.
    writer.receipts().note(receipt("hmi", 2, 1));
    let moves = writer.stats().moves;
    (0..1_000).for_each(|_| writer.settle().unwrap());
    assert_eq!(writer.stats().moves, moves + 1, "stored once");
    let copy = root.path().join("killed");
    copy_files(&dir, &copy);
    let (writer, ..) = Journal::open(&copy, &options()).unwrap();
    assert_eq!(writer.receipts().all(), [receipt("hmi", 2, 1), receipt("mes", 1, 17)]);
}

#[test]
fn a_journal_without_receipts_is_read_and_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, reader, _) = Journal::open(dir.path(), &options()).unwrap();
    writer.connection().execute_batch("DROP TABLE consumer").unwrap();
    drop(reader);
    writer.close().unwrap();
    assert_eq!(View::open(dir.path()).unwrap().facts().unwrap().receipts, []);
    let (writer, ..) = Journal::open(dir.path(), &options()).unwrap();
    assert_eq!(writer.receipts().all(), []);
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
