//! What a measurement depends on beside the model: backend, device, clocks, power.

use std::path::Path;
use std::time::Duration;

use super::tool;
use crate::engine::Backend;
use crate::engine::tensorrt::{DeviceInfo, TensorRt};
use crate::frame::Precision;

/// Longest wait for a program that tells clocks; they answer at once or hang with their driver.
const TOOL_WAIT: Duration = Duration::from_secs(5);
/// What `nvidia-smi` is asked for.
const SMI_FIELDS: &str = "--query-gpu=clocks.sm,clocks.max.sm,clocks.mem,clocks.max.mem,\
temperature.gpu,power.draw,power.limit,memory.used,memory.total";

/// One line a fact, as they are now.
pub(super) fn lines(backend: &Backend) -> Vec<String> {
    let mut lines = self::backend(backend);
    if let Backend::TensorRt(_) | Backend::Auto(_) = backend {
        lines.extend(gpu_state());
    }
    lines.extend(cpu_clock());
    lines.extend(device_clocks());
    lines
}

/// What runs the model, in which arithmetic, and the device where it is not the processor.
pub(super) fn backend(backend: &Backend) -> Vec<String> {
    let gpu = match backend {
        Backend::Cpu => {
            return vec![format!("backend  tract on one thread in {}", Precision::Fp32)];
        }
        Backend::Ort => {
            return vec![format!("backend  onnxruntime on one thread in {}", Precision::Fp32)];
        }
        Backend::TensorRt(gpu) | Backend::Auto(gpu) => gpu,
    };
    let Ok(tensorrt) = TensorRt::open(gpu.library_dir.as_deref()) else { return Vec::new() };
    let mut lines = vec![format!("backend  {} in {}", tensorrt.version(), gpu.precision)];
    lines.extend(tensorrt.device().map(device));
    lines
}

fn device(info: &DeviceInfo) -> String {
    let (major, minor) = info.compute_capability;
    let mut line = format!(
        "device   {}: compute capability {major}.{minor}, {} multiprocessors, {:.1} GB, driver for CUDA \
         {}.{}",
        info.name,
        info.multiprocessors,
        info.memory_bytes as f64 / 1e9,
        info.driver / 1000,
        info.driver % 1000 / 10
    );
    if let Some(release) = &info.tegra_release {
        line.push_str(", ");
        line.push_str(release);
    }
    line
}

/// Clocks and power as NVIDIA's programs tell them: one is for cards, the other for Jetsons.
fn gpu_state() -> Vec<String> {
    let say = |name: &str, arguments: &[&str]| {
        tool::run(&tool::find(name, &[])?, arguments, TOOL_WAIT).ok()
    };
    let card = say("nvidia-smi", &[SMI_FIELDS, "--format=csv,noheader", "--id=0"]);
    let jetson = say("nvpmodel", &["-q"]);
    let card = card.and_then(|said| smi(&said));
    let jetson = jetson.and_then(|said| power_mode(&said));
    card.into_iter().chain(jetson).collect()
}

/// The line of `nvidia-smi`, whose fields come in the order asked for.
fn smi(said: &str) -> Option<String> {
    let fields: Vec<&str> = said.lines().next()?.split(',').map(str::trim).collect();
    let [sm, sm_max, memory, memory_max, celsius, power, power_max, used, all] = fields[..] else {
        return None;
    };
    // The engine is still open: its memory is among what is used.
    Some(format!(
        "GPU      {sm} of {sm_max}, memory {memory} of {memory_max}, {celsius} C, {power} of {power_max}, \
         {used} of {all} used by all programs"
    ))
}

/// The mode that `nvpmodel -q` names, which bounds the clocks of a Jetson.
fn power_mode(said: &str) -> Option<String> {
    let mode = said.lines().find_map(|line| line.trim().strip_prefix("NV Power Mode:"))?;
    Some(format!("power    mode {}", mode.trim()))
}

fn cpu_clock() -> Option<String> {
    let cpu = Path::new("/sys/devices/system/cpu/cpu0/cpufreq");
    let (governor, now) =
        (word(&cpu.join("scaling_governor")), word(&cpu.join("scaling_cur_freq")));
    Some(format!("CPU      governor {}, {} kHz now", governor?, now?))
}

/// The GPU of a Jetson is one of these; on other machines there is none.
fn device_clocks() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/class/devfreq").into_iter().flatten().flatten();
    let clock = |entry: std::fs::DirEntry| {
        let path = entry.path();
        let (now, most) = (word(&path.join("cur_freq"))?, word(&path.join("max_freq"))?);
        Some(format!("clock    {}: {now} of {most} Hz", entry.file_name().to_string_lossy()))
    };
    entries.filter_map(clock).collect()
}

fn word(path: &Path) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

/// A line of `/proc/self/status`, in bytes.
pub(super) fn status_bytes(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(kilobytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_and_power_are_read_from_what_the_programs_say() {
        let said =
            "1410 MHz, 1980 MHz, 2619 MHz, 2619 MHz, 35, 121.50 W, 700.00 W, 1024 MiB, 81559 MiB\n";
        assert_eq!(
            smi(said).unwrap(),
            "GPU      1410 MHz of 1980 MHz, memory 2619 MHz of 2619 MHz, 35 C, 121.50 W of 700.00 W, \
             1024 MiB of 81559 MiB used by all programs"
        );
        assert_eq!(smi("Failed to initialize NVML: Driver/library version mismatch\n"), None);
        assert_eq!(smi(""), None);
        let said = "NVPM WARN: fan mode is not set\nNV Power Mode: MAXN\n0\n";
        assert_eq!(power_mode(said).unwrap(), "power    mode MAXN");
        assert_eq!(power_mode("0\n"), None);
    }

    #[test]
    fn the_device_is_told_with_what_a_plan_is_bound_to() {
        let info = DeviceInfo {
            name: "Orin".to_owned(),
            compute_capability: (8, 7),
            driver: 12_060,
            multiprocessors: 8,
            memory_bytes: 7_900_000_000,
            tegra_release: Some("R36, REVISION: 4.3".to_owned()),
        };
        assert_eq!(
            device(&info),
            "device   Orin: compute capability 8.7, 8 multiprocessors, 7.9 GB, driver for CUDA 12.6, R36, \
             REVISION: 4.3"
        );
        assert!(status_bytes("VmHWM:").unwrap() > 1_000_000);
    }
}
