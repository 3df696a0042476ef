//! What the journal costs the storage device, and how fast it opens; figures for
//! `docs/reliability.md`. Rows are those of a real station: payload, detail and masks are encoded
//! by the program, one part in twenty is rejected.
//!
//! Ignored by default because other tests of the same process would be counted along:
//! `cargo test --test it journal_cost -- --ignored --nocapture --test-threads 1`.
//!
//! Two counters are read. `write_bytes` of `/proc/self/io` is what this process caused to be
//! written; it leaves out the file system's own journal, and counts a whole page (or larger
//! folio) when a byte of it is touched through the page cache. The device's sectors
//! (`/sys/dev/block`) have everything, and what other processes write as well: read them on a
//! quiet machine only.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crrd::calibrate::CalibrationId;
use crrd::frame::{Nanos, PartId, RecipeId, StationId, TriggerId};
use crrd::journal::{Entry, Journal, Notice, Options, Reader, RowKind, Sync, Writer};
use crrd::judge::{Reason, Region, Verdict};
use crrd::message::{Detail, VerdictRecord, ViewResults, encode_detail, encode_verdict};

/// Parts a second of the line that the budget is made for.
const PARTS_PER_S: u32 = 10;
/// The budget: bytes written per verdict, on average, at that rate.
const BYTES_MAX: f64 = 2_000.0;

/// Bytes this process has caused to be written to the device; `None` off Linux.
fn written_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

/// Bytes written to the device that holds `path` by whomever; `None` when it is not known.
fn device_bytes(path: &Path) -> Option<u64> {
    let dev = std::fs::metadata(path).ok()?.dev();
    // glibc's makedev for numbers below 256 and 2^20.
    let (major, minor) = ((dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & 0xf_ff00));
    let text = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    Some(text.split_whitespace().nth(6)?.parse::<u64>().ok()? * 512)
}

fn notice(_: u32, notice: &Notice) -> Vec<u8> {
    format!("{notice:?}").into_bytes()
}

fn options(sync: Sync) -> Options {
    Options { sync, bytes_max: Options::BYTES_DEFAULT, age_days_max: 0, notice }
}

/// A row as the station writes it.
fn entry(epoch: u32, seq: u32) -> Entry {
    let bad = seq.is_multiple_of(20);
    let mut verdict = Verdict::invalid(Reason::Deadline);
    (verdict.score, verdict.limit) = (0.083_123 + seq as f32 * 1e-6, 0.191_234_5);
    verdict.p_value = 0.312_5;
    for n in 0..if bad { 3 } else { 0 } {
        verdict.regions.offer(Region { x: 100 + n, y: 57, width: 12, height: 9, score: 0.4 });
    }
    let record = VerdictRecord {
        seq,
        epoch,
        trigger: TriggerId(1_000_000 + seq),
        part: PartId::new(&format!("P-{seq:08}")).unwrap(),
        recipe: RecipeId(7),
        class: 2,
        calibration: CalibrationId(0xdead_beef),
        verdict,
        latency: Nanos(43_218_765),
        flags: 0,
    };
    let mut payload = String::new();
    encode_verdict(&record, &mut payload);
    let station = StationId::new("line1").unwrap();
    let hash = "0123456789abcdef".repeat(4);
    let views = ViewResults::default();
    let class = "magnetic_tile";
    let detail =
        Detail { station: &station, engine_sha256: &hash, class, cameras: &[], views: &views };
    Entry {
        epoch,
        seq,
        kind: RowKind::Verdict,
        at_unix_s: 1_767_225_600 + u64::from(seq / PARTS_PER_S),
        payload: payload.into_bytes(),
        detail: encode_detail(&record, &detail).into_bytes(),
        mask: bad.then(|| vec![b'm'; 400]),
    }
}

/// Appends groups as the station does; the rows before are delivered meanwhile.
fn write(writer: &mut Writer, reader: &mut Reader, groups: u32, group: u32, pause: Duration) {
    let epoch = writer.epoch();
    for n in 0..groups {
        let first = n * group + 1;
        let entries: Vec<_> = (first..first + group).map(|seq| entry(epoch, seq)).collect();
        let begun = Instant::now();
        writer.append(&entries).unwrap();
        writer.settle().unwrap();
        reader.acknowledge(u64::from(first) - 1).unwrap();
        std::thread::sleep(pause.saturating_sub(begun.elapsed()));
    }
}

struct Cost {
    own: f64,
    device: f64,
    commit_ms: f64,
}

fn cost(dir: &Path, sync: Sync, groups: u32, group: u32, pause: Duration) -> Cost {
    let (mut writer, mut reader, _) = Journal::open(dir, &options(sync)).unwrap();
    let (own, device, begun) = (written_bytes(), device_bytes(dir), Instant::now());
    write(&mut writer, &mut reader, groups, group, pause);
    let took = begun.elapsed();
    drop(reader);
    writer.close().unwrap();
    let per_row = |from: Option<u64>, to: Option<u64>| {
        let bytes = from.zip(to).map(|(from, to)| (to - from) as f64);
        bytes.map_or(f64::NAN, |bytes| bytes / f64::from(groups * group))
    };
    Cost {
        own: per_row(own, written_bytes()),
        device: per_row(device, device_bytes(dir)),
        commit_ms: took.as_secs_f64() * 1e3 / f64::from(groups),
    }
}

fn root() -> tempfile::TempDir {
    // Not the default temporary folder: that may be in memory.
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
#[ignore = "counts all writes: cargo test --test it journal_cost -- --ignored --test-threads 1"]
fn bytes_and_time_per_verdict() {
    let root = root();
    let row = entry(1, 1);
    println!("a row: payload {} B, detail {} B", row.payload.len(), row.detail.len());
    for sync in [Sync::Full, Sync::Normal] {
        for group in [1u32, 4, 20, 100] {
            let dir = root.path().join(format!("{sync:?}-{group}"));
            let cost = cost(&dir, sync, 6_000 / group.max(3), group, Duration::ZERO);
            println!(
                "sync {sync:?}, groups of {group}: {:.0} bytes/verdict by this process, {:.0} by \
                 the device's counter, {:.2} ms/group",
                cost.own, cost.device, cost.commit_ms
            );
        }
    }
}

#[test]
#[ignore = "takes a minute: cargo test --test it journal_cost -- --ignored --test-threads 1"]
fn a_line_of_ten_parts_a_second_stays_within_its_budget_of_bytes() {
    let root = root();
    let pause = Duration::from_secs(1) / PARTS_PER_S;
    let cost = cost(&root.path().join("state"), Sync::Full, 60 * PARTS_PER_S, 1, pause);
    println!(
        "{PARTS_PER_S} parts/s, each committed by itself, full sync: {:.0} bytes/verdict by this \
         process, {:.0} by the device's counter",
        cost.own, cost.device
    );
    assert!(cost.own <= BYTES_MAX, "{:.0} bytes per verdict", cost.own);
}

#[test]
#[ignore = "writes 1 GB: cargo test --test it journal_cost -- --ignored --test-threads 1"]
fn a_journal_of_a_million_rows_opens_within_two_seconds() {
    let root = root();
    let (mut writer, mut reader, opened) =
        Journal::open(root.path(), &options(Sync::Normal)).unwrap();
    for group in 0..1_000 {
        let entries: Vec<_> =
            (group * 1000 + 1..=group * 1000 + 1000).map(|seq| entry(opened.epoch, seq)).collect();
        writer.append(&entries).unwrap();
        writer.settle().unwrap();
        if group % 100 == 0 {
            reader.acknowledge(reader.newest()).unwrap();
        }
    }
    let waiting = (1_000_001..=1_000_200).map(|seq| entry(opened.epoch, seq)).collect::<Vec<_>>();
    writer.append(&waiting).unwrap();
    println!("{} MB, {} rows", writer.stats().bytes / 1_000_000, reader.newest());
    // Killed: the log and the tail are as they are, on disk and in the cache of the system.
    let copy = root.path().join("killed");
    std::fs::create_dir(&copy).unwrap();
    for name in ["journal.db", "journal.db-wal", "journal.tail", "epoch"] {
        std::fs::copy(root.path().join(name), copy.join(name)).unwrap();
    }
    drop((writer, reader));
    let _ = std::process::Command::new("sync").status();
    for cold in [false, true] {
        // Only root may empty the page cache; elsewhere both figures are warm ones.
        let emptied = cold && std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok();
        let begun = Instant::now();
        let (writer, reader, opened) = Journal::open(&copy, &options(Sync::Full)).unwrap();
        let took = begun.elapsed();
        println!("opened in {took:?} (page cache emptied: {emptied}): {opened:?}");
        assert_eq!(opened.newest, 1_000_200);
        assert!(took < Duration::from_secs(2), "{took:?}");
        drop((writer, reader));
    }
}
