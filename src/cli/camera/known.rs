//! What is known of a camera's connection before it streams: from the configuration and from the
//! kernel's files.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::capture::diagnose::Link;
use crate::config::{CameraSource, ControlValue, FeatureValue, Gige, V4l2};
use crate::sys::fs;

/// Files of the kernel are some lines of text.
const KERNEL_FILE_BYTES_MAX: u64 = 1 << 20;
/// Bit of CAP_NET_RAW in a set of capabilities.
const CAP_NET_RAW: u32 = 13;

/// What a configuration says of the pictures to come.
pub(super) struct Known {
    /// Pictures come only when something triggers the camera.
    pub(super) triggered: bool,
    /// Pictures a second that are asked for.
    pub(super) rate_hz: Option<f64>,
    /// Exposure in microseconds that is asked for.
    pub(super) exposure_us: Option<f64>,
    /// How the camera is connected.
    pub(super) link: Link,
}

impl Known {
    pub(super) fn of(source: &CameraSource) -> Self {
        match source {
            CameraSource::Replay(replay) => Self {
                triggered: false,
                rate_hz: Some(replay.rate_hz).filter(|hz| *hz > 0.0),
                exposure_us: None,
                link: Link::Files,
            },
            CameraSource::Gige(gige) => Self {
                triggered: gige.trigger.is_some(),
                rate_hz: feature(gige, &["AcquisitionFrameRate", "AcquisitionFrameRateAbs"]),
                exposure_us: feature(gige, &["ExposureTime", "ExposureTimeAbs"]),
                link: ethernet(gige),
            },
            CameraSource::Webcam(webcam) => Self {
                triggered: false,
                rate_hz: Some(f64::from(webcam.rate_hz)),
                exposure_us: None,
                link: Link::Usb { mbit: usb_mbit(&format!("video{}", webcam.index)) },
            },
            CameraSource::V4l2(camera) => Self {
                // Whether a wire triggers it is not in its configuration.
                triggered: false,
                rate_hz: camera.rate_hz,
                exposure_us: exposure_us(camera),
                link: Link::Unknown,
            },
        }
    }
}

/// The exposure time that a camera of the video class is set to, which counts in 100 µs.
fn exposure_us(camera: &V4l2) -> Option<f64> {
    let names = ["exposure_time_absolute", "exposure_absolute", "0x9a0902"];
    let found = camera.controls.iter().find(|control| names.contains(&control.name.as_str()))?;
    match found.value {
        ControlValue::Number(number) => Some(number as f64 * 100.0),
        _ => None,
    }
}

/// The number that a feature is set to.
fn feature(gige: &Gige, names: &[&str]) -> Option<f64> {
    let found = gige.features.iter().find(|feature| names.contains(&feature.name.as_str()))?;
    match &found.value {
        FeatureValue::Integer(whole) => Some(*whole as f64),
        FeatureValue::Float(number) => Some(*number),
        FeatureValue::Boolean(_) | FeatureValue::Text(_) => None,
    }
}

/// A camera named by its address is behind the interface that the kernel would send to; of others
/// nothing is known.
fn ethernet(gige: &Gige) -> Link {
    let Ok(address) = gige.device.parse::<Ipv4Addr>() else { return Link::Unknown };
    let interface = text("/proc/net/route").and_then(|table| interface_for(&table, address));
    let of_interface = |name: &str| {
        let interface = interface.as_deref()?;
        text(Path::new("/sys/class/net").join(interface).join(name))?.trim().parse::<i64>().ok()
    };
    let positive = |n: i64| u32::try_from(n).ok().filter(|n| *n > 0);
    let may_use_ring = text("/proc/self/status").is_some_and(|status| has_net_raw(&status));
    let allowed = text("/proc/sys/net/core/rmem_max").and_then(|n| n.trim().parse::<u64>().ok());
    let wanted = u64::from(gige.link.socket_buffer_bytes);
    Link::Ethernet {
        mbit: of_interface("speed").and_then(positive),
        mtu: of_interface("mtu").and_then(positive),
        packet_bytes: gige.link.packet_bytes,
        // The kernel's ring needs no socket.
        socket_bytes: allowed
            .map(|allowed| allowed.min(wanted))
            .filter(|_| !(gige.link.packet_socket && may_use_ring)),
    }
}

/// Speed of the USB port that a video device hangs on: of the nearest device of the bus above it.
pub(super) fn usb_mbit(device: &str) -> Option<u32> {
    let device = Path::new("/sys/class/video4linux").join(device).join("device");
    let device = device.canonicalize().ok()?;
    // Whole numbers but for the slowest, 1.5 Mbit/s, which no camera uses.
    device.ancestors().find_map(|dir| text(dir.join("speed"))?.trim().parse().ok())
}

fn text(file: impl AsRef<Path>) -> Option<String> {
    fs::read_text(file.as_ref(), KERNEL_FILE_BYTES_MAX).ok()
}

/// The interface of the narrowest route to `address` in the kernel's table.
fn interface_for(table: &str, address: Ipv4Addr) -> Option<String> {
    let wanted = u32::from(address);
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Numbers are in the order of the network, read as the machine's own.
        let number = |at: usize| {
            let hex = u32::from_str_radix(fields.get(at)?, 16).ok()?;
            Some(u32::from_be_bytes(hex.to_ne_bytes()))
        };
        let (network, mask) = (number(1)?, number(7)?);
        (wanted & mask == network).then(|| (mask, (*fields.first().unwrap_or(&"")).to_owned()))
    });
    routes.max_by_key(|(mask, _)| *mask).map(|(_, interface)| interface)
}

/// Whether the process may read packets from the kernel's ring.
fn has_net_raw(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    set.is_some_and(|set| set & (1 << CAP_NET_RAW) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_route_is_the_cameras_interface() {
        // As a kernel on a little-endian machine writes it.
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
                     eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\n\
                     eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n\
                     cam0\t000AA8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n";
        let table = match cfg!(target_endian = "little") {
            true => table,
            false => return,
        };
        let found = |address: [u8; 4]| interface_for(table, Ipv4Addr::from(address));
        assert_eq!(found([192, 168, 10, 2]).as_deref(), Some("cam0"));
        assert_eq!(found([192, 168, 1, 2]).as_deref(), Some("eth0"));
        assert_eq!(found([10, 0, 0, 1]).as_deref(), Some("eth0"), "by the default route");
        assert_eq!(interface_for("Iface\nnonsense\n", Ipv4Addr::LOCALHOST), None);
    }

    #[test]
    fn the_right_to_the_ring_is_a_bit_of_the_effective_set() {
        assert!(has_net_raw("Name:\tcrrd\nCapPrm:\t0\nCapEff:\t0000000000002000\n"));
        assert!(!has_net_raw("CapEff:\t0000000000001000\n"));
        assert!(!has_net_raw("CapInh:\t0000000000002000\n"));
    }
}
