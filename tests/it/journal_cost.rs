//! What the journal costs the storage device; figures for `docs/spec/mqtt.md`.
//!
//! Ignored by default because other tests of the same process would be counted along:
//! `cargo test --release --test it journal_cost -- --ignored --nocapture`.

use std::time::Instant;

use crrd::journal::{Entry, Journal, Notice, Options, RowKind, Sync};

/// Bytes this process has caused to be written to the device; `None` off Linux.
fn written_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

fn notice(_: u32, notice: &Notice) -> Vec<u8> {
    format!("{notice:?}").into_bytes()
}

fn entry(epoch: u32, seq: u32) -> Entry {
    let mask = seq.is_multiple_of(20).then(|| vec![b'm'; 400]);
    let (payload, detail) = (vec![b'p'; 190], vec![b'd'; 400]);
    Entry { epoch, seq, kind: RowKind::Verdict, at_unix_s: 1, payload, detail, mask }
}

#[test]
#[ignore = "counts all writes: cargo test --test it bytes_and_time -- --ignored"]
fn bytes_and_time_per_verdict() {
    // Not the default temporary folder: that may be in memory.
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for sync in [Sync::Full, Sync::Normal] {
        for group in [1u32, 4, 20, 100] {
            let dir = root.path().join(format!("{sync:?}-{group}"));
            let options =
                Options { sync, bytes_max: Options::BYTES_DEFAULT, age_days_max: 0, notice };
            let (mut writer, mut reader, opened) = Journal::open(&dir, &options).unwrap();
            let commits = 4_000 / group.max(2);
            let (before, begun) = (written_bytes(), Instant::now());
            for commit in 0..commits {
                let first = commit * group + 1;
                let entries: Vec<_> =
                    (first..first + group).map(|seq| entry(opened.epoch, seq)).collect();
                writer.append(&entries).unwrap();
                // The usual case: everything before this group was delivered meanwhile.
                reader.acknowledge(u64::from(first) - 1).unwrap();
            }
            let took = begun.elapsed();
            drop(reader);
            writer.close().unwrap();
            let rows = f64::from(commits * group);
            let bytes = before.zip(written_bytes()).map(|(from, to)| (to - from) as f64 / rows);
            println!(
                "sync {sync:?}, groups of {group}: {:.0} bytes/verdict to the device, {:.0} \
                 verdicts/s, {:.2} ms/commit",
                bytes.unwrap_or(f64::NAN),
                rows / took.as_secs_f64(),
                took.as_secs_f64() * 1e3 / f64::from(commits)
            );
        }
    }
}

#[test]
#[ignore = "writes 240 MB: cargo test --test it journal_cost -- --ignored --test-threads 1"]
fn time_to_open_a_large_journal() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let options =
        Options { sync: Sync::Normal, bytes_max: Options::BYTES_DEFAULT, age_days_max: 0, notice };
    let (mut writer, reader, opened) = Journal::open(root.path(), &options).unwrap();
    for commit in 0..340 {
        let entries: Vec<_> = (commit * 1000 + 1..=commit * 1000 + 1000)
            .map(|seq| entry(opened.epoch, seq))
            .collect();
        writer.append(&entries).unwrap();
    }
    println!("{} MB, {} rows", writer.stats().bytes / 1_000_000, reader.newest());
    drop(reader);
    writer.close().unwrap();
    let begun = Instant::now();
    let (_, _, opened) = Journal::open(root.path(), &options).unwrap();
    println!("opened in {:?}: {opened:?}", begun.elapsed());
    assert_eq!(opened.undelivered, 340_000);
}
