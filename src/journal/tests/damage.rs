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
    writer.receipts().note(receipt("mes", 1, 400));
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

    let (writer, mut reader, opened) = Journal::open(dir.path(), &options()).unwrap();
    assert_eq!(writer.receipts().all(), [receipt("mes", 1, 400)]);
    assert!(View::open(dir.path()).unwrap().facts().unwrap().receipts.len() == 1, "stored again");
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
