//! What is wrong with a camera's connection, from what was measured: pure rules, each with a remedy.

use serde::Serialize;

/// What was measured while a camera streamed, and what is known of its connection; `None` where it
/// is not known.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    /// Time of the measurement in seconds.
    pub seconds: f64,
    /// Whole pictures.
    pub frames: u64,
    /// Frame numbers that never came.
    pub lost: u64,
    /// Pictures that came damaged.
    pub damaged: u64,
    /// Triggers that found no free buffer.
    pub no_buffer: u64,
    /// Times that the camera was lost.
    pub gone: u64,
    /// Pictures that came twice, or too late to count.
    pub stale: u64,
    /// Pictures come only when somebody triggers the camera.
    pub triggered: bool,
    /// Pictures a second that are asked for.
    pub rate_hz_wanted: Option<f64>,
    /// Times between two pictures.
    pub intervals: Option<Intervals>,
    /// Longest exposure in microseconds.
    pub exposure_us: Option<f64>,
    /// Bytes of a picture.
    pub frame_bytes: u64,
    /// How the camera is connected.
    pub link: Link,
}

/// Times between two pictures in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Intervals {
    /// Mean.
    pub mean_ms: f64,
    /// Shortest.
    pub min_ms: f64,
    /// The one that 99 of 100 do not exceed.
    pub p99_ms: f64,
    /// Longest.
    pub max_ms: f64,
}

/// How a camera is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Not known, or nothing that has limits worth a rule.
    #[default]
    Unknown,
    /// Files.
    Files,
    /// USB.
    Usb {
        /// Speed of the port in Mbit/s.
        mbit: Option<u32>,
    },
    /// Ethernet.
    Ethernet {
        /// Speed of the port in Mbit/s.
        mbit: Option<u32>,
        /// Largest packet of the interface in bytes.
        mtu: Option<u32>,
        /// Packets that the camera sends, in bytes.
        packet_bytes: Option<u32>,
        /// Room of the socket in bytes (`net.core.rmem_max` at most).
        socket_bytes: Option<u64>,
    },
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Works, could be better.
    Advice,
    /// Parts are lost.
    Fault,
}

/// What was found and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Short name, for programs.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, with the numbers that say so.
    pub what: String,
    /// What to do.
    pub remedy: &'static str,
}

/// Every code that a finding can have, in the order of the rules.
pub const CODES: [&str; 14] = [
    "no_trigger",
    "no_picture",
    "exposure_too_long",
    "packet_larger_than_mtu",
    "socket_buffer",
    "small_packets",
    "bandwidth",
    "no_buffer",
    "connection_lost",
    "damaged",
    "lost",
    "rate",
    "jitter",
    "twice",
];

/// Packets of standard Ethernet; a camera needs many of them for a picture.
const MTU_STANDARD: u32 = 1_500;
/// Packets a second that a small computer takes without losing any.
const PACKETS_PER_S_MAX: f64 = 30_000.0;
/// Share of a port's speed that pictures can use.
const USABLE: f64 = 0.85;
/// Share of a period that the longest interval may differ from the mean.
const JITTER_MAX: f64 = 0.5;

/// Holds what was measured against the rules; faults first. Empty when nothing is wrong.
pub fn diagnose(m: &Measured) -> Vec<Finding> {
    let rules = [
        no_picture,
        exposure,
        packet_size,
        socket,
        packets,
        bandwidth,
        no_buffer,
        gone,
        damaged,
        lost,
        rate,
        jitter,
        stale,
    ];
    let mut found: Vec<Finding> = rules.iter().filter_map(|rule| rule(m)).collect();
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

fn fault(code: &'static str, what: String, remedy: &'static str) -> Option<Finding> {
    Some(Finding { code, severity: Severity::Fault, what, remedy })
}

fn advice(code: &'static str, what: String, remedy: &'static str) -> Option<Finding> {
    Some(Finding { code, severity: Severity::Advice, what, remedy })
}

/// Triggers that the camera reported, with a picture or without.
fn triggers(m: &Measured) -> u64 {
    m.frames + m.lost + m.damaged + m.no_buffer
}

fn has_losses(m: &Measured) -> bool {
    m.lost + m.damaged > 0
}

/// Pictures a second as they came, or as they are asked for when none came.
fn rate_hz(m: &Measured) -> Option<f64> {
    let measured = m.intervals.filter(|i| i.mean_ms > 0.0).map(|i| 1_000.0 / i.mean_ms);
    measured.or(m.rate_hz_wanted)
}

fn no_picture(m: &Measured) -> Option<Finding> {
    if triggers(m) > 0 || m.gone > 0 {
        return None;
    }
    let seconds = m.seconds;
    if m.triggered {
        return fault(
            "no_trigger",
            format!("no picture in {seconds:.0} s: the trigger never came"),
            "let a part pass; check the sensor's light, its wiring and supply at the camera's input, \
             and that the trigger source names this input",
        );
    }
    fault(
        "no_picture",
        format!("no picture in {seconds:.0} s, though the camera needs no trigger"),
        "check that no trigger mode is left on in the camera, and that no other program uses it",
    )
}

fn exposure(m: &Measured) -> Option<Finding> {
    let (exposure_us, wanted) = (m.exposure_us?, m.rate_hz_wanted.filter(|hz| *hz > 0.0)?);
    let period_us = 1e6 / wanted;
    if exposure_us < period_us {
        return None;
    }
    fault(
        "exposure_too_long",
        format!(
            "an exposure takes {exposure_us:.0} us, the time between two triggers is {period_us:.0} \
             us: a trigger during an exposure is ignored by the camera"
        ),
        "shorten the exposure and add light or gain, or let parts come slower",
    )
}

fn packet_size(m: &Measured) -> Option<Finding> {
    let Link::Ethernet { mtu: Some(mtu), packet_bytes: Some(packet), .. } = m.link else {
        return None;
    };
    if packet <= mtu {
        return None;
    }
    fault(
        "packet_larger_than_mtu",
        format!("the camera sends packets of {packet} bytes, the interface takes {mtu}"),
        "set the interface's MTU to 9000 (and that of every switch between), or make the camera's \
         packets smaller (GevSCPSPacketSize)",
    )
}

fn socket(m: &Measured) -> Option<Finding> {
    let Link::Ethernet { socket_bytes: Some(socket), .. } = m.link else { return None };
    if socket >= m.frame_bytes || m.frame_bytes == 0 {
        return None;
    }
    let what = format!(
        "the socket holds {socket} bytes, a picture has {}: packets are lost whenever this \
         program is not at once there to take them",
        m.frame_bytes
    );
    let remedy =
        "sysctl -w net.core.rmem_max=33554432, and the same in /etc/sysctl.d/ so that it stays";
    if has_losses(m) {
        fault("socket_buffer", what, remedy)
    } else {
        advice("socket_buffer", what, remedy)
    }
}

fn packets(m: &Measured) -> Option<Finding> {
    let Link::Ethernet { packet_bytes, mtu, .. } = m.link else { return None };
    let packet = packet_bytes.or(mtu)?;
    let per_s = m.frame_bytes as f64 / f64::from(packet.max(1)) * rate_hz(m)?;
    if packet > MTU_STANDARD || per_s < PACKETS_PER_S_MAX {
        return None;
    }
    advice(
        "small_packets",
        format!("{per_s:.0} packets of {packet} bytes come each second"),
        "use jumbo packets: MTU 9000 on the interface and every switch between, then a packet size \
         of 8000 in the camera",
    )
}

fn bandwidth(m: &Measured) -> Option<Finding> {
    let (mbit, port) = match m.link {
        Link::Usb { mbit } => (mbit?, "USB port"),
        Link::Ethernet { mbit, .. } => (mbit?, "network port"),
        Link::Unknown | Link::Files => return None,
    };
    // What is asked for counts: a link that is too slow never shows the rate it cannot carry.
    let hz = m.rate_hz_wanted.into_iter().chain(rate_hz(m)).fold(0.0, f64::max);
    let needed = m.frame_bytes as f64 * 8.0 * hz / 1e6;
    if needed <= f64::from(mbit) * USABLE {
        return None;
    }
    fault(
        "bandwidth",
        format!("{needed:.0} Mbit/s are needed and the {port} has {mbit}"),
        "use a faster port (USB 3: blue or SS; a cable for it), a smaller picture or region, 8 bits \
         a pixel, or fewer pictures a second",
    )
}

fn no_buffer(m: &Measured) -> Option<Finding> {
    if m.no_buffer == 0 {
        return None;
    }
    fault(
        "no_buffer",
        format!("{} of {} triggers found no free buffer", m.no_buffer, triggers(m)),
        "in the station: raise limits.queue_frames, or let parts come slower than the inspection; \
         in this test: the machine is busy with something else",
    )
}

fn gone(m: &Measured) -> Option<Finding> {
    if m.gone == 0 {
        return None;
    }
    fault(
        "connection_lost",
        format!("the camera was lost {} times", m.gone),
        "check the plug's screws, the cable's length and the camera's supply; look into the kernel's \
         log (dmesg) for the port",
    )
}

fn damaged(m: &Measured) -> Option<Finding> {
    if m.damaged == 0 {
        return None;
    }
    let remedy = match m.link {
        Link::Files => "look at the files named in the log: they are cut off or no pictures",
        Link::Ethernet { .. } => {
            "packets are lost on the way: see the other findings first, then the cable, the switch \
             and whether other cameras send at the same time (GevSCPD)"
        }
        Link::Usb { .. } | Link::Unknown => {
            "bytes are lost on the way: use another port, a shorter cable and no hub"
        }
    };
    fault("damaged", format!("{} of {} pictures came damaged", m.damaged, triggers(m)), remedy)
}

fn lost(m: &Measured) -> Option<Finding> {
    if m.lost == 0 {
        return None;
    }
    fault(
        "lost",
        format!("{} of {} pictures never came, by their numbers", m.lost, triggers(m)),
        "the camera took them and could not send them: lower the rate or the picture's size, and see \
         the other findings",
    )
}

fn rate(m: &Measured) -> Option<Finding> {
    let (wanted, found) = (m.rate_hz_wanted?, m.intervals.and_then(|_| rate_hz(m))?);
    if m.triggered || found >= 0.9 * wanted {
        return None;
    }
    fault(
        "rate",
        format!("{wanted:.1} pictures a second are asked for, {found:.1} come"),
        "the exposure, the picture's size or the link allow no more: shorten or lower one of them",
    )
}

fn jitter(m: &Measured) -> Option<Finding> {
    let i = m.intervals?;
    // Parts come when they come.
    if m.triggered || has_losses(m) || m.rate_hz_wanted.is_none_or(|hz| hz == 0.0) {
        return None;
    }
    let worst = (i.max_ms - i.mean_ms).max(i.mean_ms - i.min_ms);
    if worst <= JITTER_MAX * i.mean_ms {
        return None;
    }
    advice(
        "jitter",
        format!(
            "pictures come every {:.1} ms on average, between {:.1} and {:.1} ms apart",
            i.mean_ms, i.min_ms, i.max_ms
        ),
        "the machine is busy, or several cameras share the link; give the camera a port of its own",
    )
}

fn stale(m: &Measured) -> Option<Finding> {
    if m.stale == 0 {
        return None;
    }
    advice(
        "twice",
        format!("{} pictures came twice or too late", m.stale),
        "nothing is wrong with the parts: the first of them counts; a newer firmware may mend it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A good camera on a good network: 2.3 MB, 25 Hz.
    fn good() -> Measured {
        Measured {
            seconds: 10.0,
            frames: 250,
            rate_hz_wanted: Some(25.0),
            intervals: Some(Intervals { mean_ms: 40.0, min_ms: 39.0, p99_ms: 41.0, max_ms: 42.0 }),
            exposure_us: Some(5_000.0),
            frame_bytes: 2_304_000,
            link: Link::Ethernet {
                mbit: Some(1_000),
                mtu: Some(9_000),
                packet_bytes: Some(8_000),
                socket_bytes: Some(32 << 20),
            },
            ..Measured::default()
        }
    }

    fn codes(m: &Measured) -> Vec<&'static str> {
        diagnose(m).iter().map(|finding| finding.code).collect()
    }

    fn ethernet(mbit: u32, mtu: u32, packet: u32, socket: u64) -> Link {
        Link::Ethernet {
            mbit: Some(mbit),
            mtu: Some(mtu),
            packet_bytes: Some(packet),
            socket_bytes: Some(socket),
        }
    }

    #[test]
    fn a_good_camera_has_no_finding() {
        assert_eq!(codes(&good()), Vec::<&str>::new());
        let files = Measured { link: Link::Files, rate_hz_wanted: None, ..good() };
        assert_eq!(codes(&files), Vec::<&str>::new());
    }

    #[test]
    fn each_cause_is_found_and_no_other() {
        let none = Measured { frames: 0, intervals: None, ..good() };
        let usb = |mbit| Link::Usb { mbit: Some(mbit) };
        let wide = Intervals { mean_ms: 40.0, min_ms: 12.0, p99_ms: 60.0, max_ms: 75.0 };
        let slow = Intervals { mean_ms: 80.0, min_ms: 79.0, p99_ms: 81.0, max_ms: 81.0 };
        let cases = [
            ("no_trigger", Measured { triggered: true, ..none.clone() }),
            ("no_picture", none),
            ("exposure_too_long", Measured { exposure_us: Some(40_000.0), ..good() }),
            (
                "packet_larger_than_mtu",
                Measured { link: ethernet(1_000, 1_500, 8_000, 32 << 20), ..good() },
            ),
            ("socket_buffer", Measured { link: ethernet(1_000, 9_000, 8_000, 212_992), ..good() }),
            ("small_packets", Measured { link: ethernet(1_000, 1_500, 1_500, 32 << 20), ..good() }),
            ("bandwidth", Measured { link: usb(480), ..good() }),
            ("bandwidth", Measured { link: ethernet(100, 9_000, 8_000, 32 << 20), ..good() }),
            ("no_buffer", Measured { no_buffer: 3, ..good() }),
            ("connection_lost", Measured { gone: 1, ..good() }),
            ("damaged", Measured { damaged: 2, ..good() }),
            ("lost", Measured { lost: 2, ..good() }),
            ("rate", Measured { intervals: Some(slow), ..good() }),
            ("jitter", Measured { intervals: Some(wide), ..good() }),
            ("twice", Measured { stale: 1, ..good() }),
        ];
        let mut covered: Vec<&str> = cases.iter().map(|(code, _)| *code).collect();
        covered.dedup();
        assert_eq!(covered, CODES);
        for (code, mut measured) in cases {
            if code == "small_packets" {
                // 25 Hz of 2.3 MB are 38 400 packets of 1500 bytes.
                assert!(measured.frame_bytes as f64 / 1_500.0 * 25.0 > PACKETS_PER_S_MAX);
            }
            if code == "bandwidth" && measured.link == usb(480) {
                // 461 Mbit/s through a port of USB 2; through one of USB 3 they pass.
                let fast = Measured { link: usb(5_000), ..measured.clone() };
                assert_eq!(codes(&fast), Vec::<&str>::new());
                measured.exposure_us = None;
            }
            assert_eq!(codes(&measured), [code], "{measured:?}");
            for finding in diagnose(&measured) {
                assert!(!finding.what.is_empty() && !finding.remedy.is_empty());
            }
        }
    }

    #[test]
    fn a_small_socket_is_advice_until_packets_are_lost() {
        let link = ethernet(1_000, 9_000, 8_000, 212_992);
        let quiet = diagnose(&Measured { link, ..good() });
        assert_eq!(quiet[0].severity, Severity::Advice);
        let lossy = diagnose(&Measured { link, damaged: 40, ..good() });
        assert_eq!(lossy[0].code, "socket_buffer", "{lossy:?}");
        assert_eq!(lossy[0].severity, Severity::Fault);
        assert!(lossy.iter().any(|finding| finding.code == "damaged"));
    }

    #[test]
    fn a_triggered_camera_may_wait_as_long_as_it_likes() {
        let wide = Intervals { mean_ms: 900.0, min_ms: 40.0, p99_ms: 5_000.0, max_ms: 9_000.0 };
        let line = Measured { triggered: true, intervals: Some(wide), ..good() };
        assert_eq!(codes(&line), Vec::<&str>::new());
    }
}
