//! Whether the machine has an NVIDIA GPU at all, told by what its kernel driver leaves in the file
//! system. A service that must not see the device files still sees these, so that a GPU that is not
//! used for want of a drop-in is told from a machine that has none.

use std::path::Path;

/// Files by which it shows, and what is there then.
const SIGNS: [(&str, &str); 4] = [
    ("etc/nv_tegra_release", "an NVIDIA Jetson"),
    ("sys/module/nvgpu", "the GPU of an NVIDIA Jetson"),
    ("proc/driver/nvidia/version", "an NVIDIA card with its driver"),
    ("sys/module/nvidia", "an NVIDIA card with its driver"),
];

/// What of NVIDIA's is in this machine; `None`: nothing that shows.
pub fn nvidia_gpu() -> Option<&'static str> {
    below(Path::new("/"))
}

fn below(root: &Path) -> Option<&'static str> {
    SIGNS.iter().find(|(file, _)| root.join(file).exists()).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_shows_by_its_kernel_driver() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(below(root.path()), None);
        std::fs::create_dir_all(root.path().join("proc/driver/nvidia")).unwrap();
        std::fs::write(root.path().join("proc/driver/nvidia/version"), "NVRM").unwrap();
        assert_eq!(below(root.path()), Some("an NVIDIA card with its driver"));
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/nv_tegra_release"), "# R36").unwrap();
        assert_eq!(below(root.path()), Some("an NVIDIA Jetson"));
    }
}
