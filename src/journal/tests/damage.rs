//! Full disks, databases that cannot be read, lost files.

use super::*;

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
    assert!((1300..1500).contains(&readable), "{readable}: all but those of the page");
    assert_eq!(carried_over(true), 1500, "the tail has what the database lost");
}

/// A closed journal of 2000 rows, 500 of them delivered, with a damaged page; with its tail, which
/// has all of them, or without.
fn damaged(dir: &Path, with_tail: bool) -> Vec<Entry> {
    let (mut writer, mut reader, opened) = Journal::open(dir, &options()).unwrap();
    let batch: Vec<_> = (1..=2000).map(|seq| entry(opened.epoch, seq, Some(40))).collect();
    writer.append(&batch).unwrap();
    reader.acknowledge(500).unwrap();
    writer.receipts().note(receipt("mes", 1, 400));
    drop(reader);
    writer.close().unwrap();
    // Damage the page of a row near the end: the tables' roots and the rows before stay readable.
    let path = dir.join("journal.db");
    let mut bytes = fs::read(&path).unwrap();
    let row = &batch[1399].payload;
    let at = bytes.windows(row.len()).position(|bytes| bytes == row).unwrap() / 4096 * 4096;
    bytes[at..at + 4096].fill(0xFF);
    fs::write(&path, bytes).unwrap();
    if !with_tail {
        fs::remove_file(dir.join("journal.tail")).unwrap();
    }
    batch
}

/// Verdicts there are, each with its number and content, from 501 on; the loss is told.
fn saved(reader: &mut Reader, batch: &[Entry]) -> u64 {
    let rows = all(reader, 0);
    let told = rows.iter().filter(|r| String::from_utf8_lossy(&r.payload).contains("Restarted"));
    assert_eq!(told.count(), 1, "the loss is told once");
    let verdicts: Vec<_> = rows.iter().filter(|row| row.kind == RowKind::Verdict).collect();
    assert_eq!(verdicts[0].seq, 501, "from the cursor on");
    assert_eq!(verdicts[verdicts.len() - 1].seq, 2000, "what lies behind the damage as well");
    for row in &verdicts {
        assert_eq!((row.epoch, row.id), (1, u64::from(row.seq)), "under its number");
        assert_eq!(row.payload, batch[row.seq as usize - 1].payload);
    }
    assert!(rows.windows(2).all(|pair| pair[0].id < pair[1].id));
    verdicts.len() as u64
}

fn carried_over(with_tail: bool) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let batch = damaged(dir.path(), with_tail);
    let (writer, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    assert_eq!(writer.receipts().all(), [receipt("mes", 1, 400)]);
    let view = View::open(dir.path()).unwrap();
    assert!(view.facts().unwrap().receipts.len() == 1, "stored again");
    let restarted = opened.restarted.expect("the damage was found");
    assert_eq!(saved(&mut reader, &batch), restarted.carried_over);
    let records = view.after(500, 100).unwrap();
    assert!(records.iter().zip(&batch[500..]).all(|(record, entry)| record.entry == *entry));
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

/// What comes of a recovery that was cut short in the state in which `dir` is now.
fn goes_on(dir: &Path, batch: &[Entry], rows: u64) {
    let (mut writer, mut reader, opened) = Journal::open(dir, &options()).unwrap();
    assert_eq!(saved(&mut reader, batch), rows);
    assert_eq!(writer.receipts().all(), [receipt("mes", 1, 400)]);
    let ids = writer.append(&[entry(opened.epoch, 1, None)]).unwrap();
    assert!(ids.start > 2001, "{ids:?}: numbers are not used again");
    assert!(opened.epoch > 1);
    let left: Vec<_> = names(dir).into_iter().map(|(name, _)| name).collect();
    for gone in ["recovery", "unfinished.db", "unfinished.db-wal"] {
        assert!(!left.contains(&gone.to_owned()), "{gone} is left: {left:?}");
    }
    drop((writer, reader));
    let (_, mut reader, again) = Journal::open(dir, &options()).unwrap();
    assert_eq!((again.restarted, again.epoch), (None, opened.epoch + 1));
    assert_eq!(all(&mut reader, 0).len() as u64, rows + 2, "the event and the new one too");
}

fn dies(_: u32, _: &Notice) -> Vec<u8> {
    panic!("killed")
}

#[test]
fn a_recovery_that_dies_before_its_end_loses_nothing() {
    for with_tail in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let batch = damaged(dir.path(), with_tail);
        for _ in 0..2 {
            let dying = Options { notice: dies, ..options() };
            let path = dir.path().to_owned();
            let died = std::panic::catch_unwind(move || Journal::open(&path, &dying).map(|_| ()));
            assert!(died.is_err());
        }
        let (_w, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
        let restarted = opened.restarted.expect("it is this start that put it right");
        let rows = saved(&mut reader, &batch);
        assert_eq!(rows, restarted.carried_over);
        assert!(if with_tail { rows == 1500 } else { rows > 1300 }, "{rows}");
    }
}

/// What a recovery had done in the folder when it was stopped.
type Step<'a> = &'a dyn Fn(&Path);

#[test]
fn a_recovery_goes_on_from_every_step() {
    let root = tempfile::tempdir().unwrap();
    let (before, after) = (root.path().join("before"), root.path().join("after"));
    let batch = damaged(&before, true);
    copy_files(&before, &after);
    let (writer, reader, opened) = Journal::open(&after, &options()).unwrap();
    let restarted = opened.restarted.unwrap();
    drop(reader);
    writer.close().unwrap();
    let aside = restarted.moved_to.file_name().unwrap().to_str().unwrap();
    let note = format!("{aside}\n{}\n", restarted.cause);
    let steps: [(&str, Step<'_>); 5] = [
        ("noted", &|_| {}),
        ("moved", &|dir| fs::rename(dir.join("journal.db"), dir.join(aside)).unwrap()),
        ("begun", &|dir| {
            fs::rename(dir.join("journal.db"), dir.join(aside)).unwrap();
            fs::write(dir.join("unfinished.db"), b"half").unwrap();
            fs::write(dir.join("unfinished.db-wal"), b"of it").unwrap();
        }),
        ("built", &|dir| {
            fs::rename(dir.join("journal.db"), dir.join(aside)).unwrap();
            fs::copy(after.join("journal.db"), dir.join("unfinished.db")).unwrap();
            fs::write(dir.join("journal.db-wal"), b"a log of nothing").unwrap();
        }),
        ("installed", &|dir| {
            fs::rename(dir.join("journal.db"), dir.join(aside)).unwrap();
            fs::copy(after.join("journal.db"), dir.join("journal.db")).unwrap();
        }),
    ];
    for (name, step) in steps {
        let dir = root.path().join(name);
        copy_files(&before, &dir);
        fs::write(dir.join("recovery"), &note).unwrap();
        step(&dir);
        goes_on(&dir, &batch, 1500);
    }
    // The note rotted as well.
    let dir = root.path().join("rotten");
    copy_files(&before, &dir);
    fs::rename(dir.join("journal.db"), dir.join(aside)).unwrap();
    fs::write(dir.join("recovery"), [0xFF; 40]).unwrap();
    goes_on(&dir, &batch, 1500);
}

#[test]
fn a_recovery_that_finds_no_room_is_made_up_for() {
    let dir = tempfile::tempdir().unwrap();
    let batch = damaged(dir.path(), false);
    // Nothing can be built there.
    fs::create_dir(dir.path().join("unfinished.db")).unwrap();
    for _ in 0..3 {
        Journal::open(dir.path(), &options()).unwrap_err();
    }
    fs::remove_dir(dir.path().join("unfinished.db")).unwrap();
    let (_w, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    assert!(opened.restarted.is_some());
    assert!(saved(&mut reader, &batch) > 1300);
}

/// Changes a closed journal by SQL.
fn spoil(dir: &Path, sql: &str) {
    rusqlite::Connection::open(dir.join("journal.db")).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn damage_that_shows_only_when_room_is_made_is_healed_by_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    for first in [1, 251, 501] {
        let batch: Vec<_> = (first..first + 250)
            .map(|seq| entry(opened.epoch, seq, (seq > 300).then_some(3000)))
            .collect();
        writer.append(&batch).unwrap();
        writer.store(&[]).unwrap();
    }
    writer.append(&[entry(opened.epoch, 751, None)]).unwrap();
    drop((writer, reader));
    // Neither a page check nor the rows looked at when it is opened show it.
    spoil(dir.path(), "UPDATE row SET epoch = 1 << 40 WHERE id = 310");
    let small = Options { bytes_max: Options::BYTES_MIN, ..options() };
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &small).unwrap();
    assert!(opened.restarted.is_some());
    let rows = all(&mut reader, 0);
    let seqs = rows.iter().filter(|row| row.kind == RowKind::Verdict).map(|row| row.seq);
    assert_eq!(seqs.collect::<Vec<_>>(), (1..=309).chain(311..=751).collect::<Vec<_>>());
    writer.append(&[entry(opened.epoch, 1, None)]).unwrap();
    writer.store(&[]).unwrap();
}

#[test]
fn a_receipt_that_makes_no_sense_is_left_out() {
    for sql in ["UPDATE consumer SET name = ''", "UPDATE consumer SET epoch = 1 << 40"] {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, reader, opened) = Journal::open(dir.path(), &options()).unwrap();
        writer.receipts().note(receipt("mes", 1, 400));
        writer.append(&[entry(opened.epoch, 1, None)]).unwrap();
        drop(reader);
        writer.close().unwrap();
        spoil(dir.path(), &format!("{sql}; INSERT INTO consumer VALUES (9, 'hmi', 1, 7)"));
        let (writer, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
        assert_eq!(opened.restarted, None, "{sql}");
        assert_eq!(writer.receipts().all(), [receipt("hmi", 1, 7)], "{sql}");
        assert_eq!(View::open(dir.path()).unwrap().facts().unwrap().receipts.len(), 1, "{sql}");
        assert_eq!(all(&mut reader, 0).len(), 1);
    }
}

#[test]
fn without_a_cursor_the_tail_knows_it_else_the_newest_rows_are_delivered_again() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("live");
    let (mut writer, mut reader, opened) = Journal::open(&dir, &options()).unwrap();
    for first in (1..=120_000).step_by(20_000) {
        let batch: Vec<_> =
            (first..first + 20_000).map(|seq| entry(opened.epoch, seq, None)).collect();
        writer.append(&batch).unwrap();
    }
    reader.acknowledge(119_000).unwrap();
    writer.append(&[entry(opened.epoch, 120_001, None)]).unwrap();
    drop((writer, reader));
    spoil(&dir, "DELETE FROM meta WHERE key = 'cursor'");

    let seqs = |reader: &mut Reader| -> Vec<u32> {
        let rows = all(reader, 0);
        let verdicts = rows.iter().filter(|row| row.kind == RowKind::Verdict);
        verdicts.map(|row| row.seq).collect()
    };
    let copy = root.path().join("without tail");
    copy_files(&dir, &copy);
    let (_w, mut reader, opened) = Journal::open(&dir, &options()).unwrap();
    assert_eq!((opened.cursor, opened.restarted.unwrap().carried_over), (119_000, 1_001));
    assert_eq!(seqs(&mut reader), (119_001..=120_001).collect::<Vec<_>>());

    fs::remove_file(copy.join("journal.tail")).unwrap();
    let (_w, mut reader, opened) = Journal::open(&copy, &options()).unwrap();
    assert_eq!(opened.restarted.unwrap().carried_over, 100_000);
    assert_eq!(seqs(&mut reader), (20_001..=120_000).collect::<Vec<_>>(), "the newest");
}

#[test]
fn damage_that_only_the_reader_meets_is_healed_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    let batch: Vec<_> = (1..=1000).map(|seq| entry(opened.epoch, seq, None)).collect();
    writer.append(&batch).unwrap();
    writer.store(&[]).unwrap();
    writer.connection().execute_batch("UPDATE row SET kind = 7 WHERE id = 500").unwrap();
    for (after, there) in [(0, true), (499, false), (499, false), (600, true)] {
        assert_eq!(reader.after(after, 10).is_ok(), there);
    }
    let error = writer.settle().unwrap_err();
    assert_eq!(error.kind(), JournalErrorKind::Damaged, "{error}");
    drop((writer, reader));
    // In the middle, where a start does not look by itself.
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    assert!(opened.restarted.is_some());
    assert_eq!(all(&mut reader, 0).len(), 1_001, "the tail had that one too; and the event");
    writer.settle().unwrap();
    drop((writer, reader));
    assert_eq!(Journal::open(dir.path(), &options()).unwrap().2.restarted, None);
}

#[test]
fn what_a_recovery_carries_over_is_trimmed_to_the_bound_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    for first in (1..=12_000).step_by(1_000) {
        let batch: Vec<_> = (first..first + 1_000)
            .map(|seq| Entry { detail: vec![b'd'; 2000], ..entry(opened.epoch, seq, None) })
            .collect();
        writer.append(&batch).unwrap();
        writer.store(&[]).unwrap();
    }
    drop(reader);
    writer.close().unwrap();
    spoil(dir.path(), "DELETE FROM meta WHERE key = 'cursor'");
    let small = Options { bytes_max: Options::BYTES_MIN, ..options() };
    let (mut writer, mut reader, opened) = Journal::open(dir.path(), &small).unwrap();
    assert!(opened.restarted.is_some());
    writer.append(&[entry(opened.epoch, 1, None)]).unwrap();
    writer.store(&[]).unwrap();
    let rows = all(&mut reader, 0);
    let kept = rows.iter().filter(|row| row.kind == RowKind::Verdict).count() as u64;
    assert_eq!(kept + bounds::told(&rows, "RowsDropped"), 12_001);
    assert!(writer.stats().bytes < 2 << 20, "{:?}", writer.stats());
}
