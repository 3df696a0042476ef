//! What this machine grants to a stream of packets.

use std::fs;

use crate::config::GigeLink;

/// The bit of the capability to read packets from the kernel's ring.
const CAP_NET_RAW: u32 = 13;

/// Says in the log when the kernel will not hold as many packets as were asked for: the usual
/// reason for frames that come with packets missing.
pub(super) fn advise(link: &GigeLink) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if link.packet_socket && may_read_raw(&status) {
        tracing::info!("packets are taken from the kernel's ring");
        return;
    }
    let granted = fs::read_to_string("/proc/sys/net/core/rmem_max").ok();
    let granted = granted.and_then(|text| text.trim().parse::<u64>().ok());
    if let Some(granted) = granted
        && granted < u64::from(link.socket_buffer_bytes)
    {
        tracing::warn!(
            granted_bytes = granted,
            wanted_bytes = link.socket_buffer_bytes,
            "the kernel holds fewer packets than wanted: raise net.core.rmem_max, or give the \
             service CAP_NET_RAW (docs/cameras.md)"
        );
    }
}

/// Whether the process with this `/proc/PID/status` has CAP_NET_RAW.
fn may_read_raw(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> CAP_NET_RAW & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_to_the_ring_is_read_from_the_status_of_the_process() {
        assert!(may_read_raw("Name:\tcrrd\nCapEff:\t0000000000002000\n"));
        assert!(!may_read_raw("Name:\tcrrd\nCapEff:\t0000000000001fff\n"));
        assert!(!may_read_raw("Name:\tcrrd\n"));
        assert!(!may_read_raw("CapEff:\tx\n"));
    }
}
