//! Where decoder and head are trained.

use burn::tensor::Device;

use super::TrainError;

/// What the steps of a training run on. The frozen encoder runs on the CPU in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Compute {
    /// The processor.
    #[default]
    Cpu,
    /// The first NVIDIA GPU; only in a program built with the feature `cuda`.
    Cuda,
}

impl Compute {
    /// The device, with gradients.
    ///
    /// # Errors
    /// When this program was built without it.
    pub fn device(self) -> Result<Device, TrainError> {
        match self {
            Self::Cpu => Ok(Device::flex().autodiff()),
            Self::Cuda => cuda(),
        }
    }
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<Device, TrainError> {
    Ok(Device::cuda(0).autodiff())
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<Device, TrainError> {
    let text = "this program was built without CUDA: build it with `cargo build --release -p \
                crrd-train --features cuda`, or leave --device out";
    Err(TrainError::new(super::TrainErrorKind::System, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there() {
        assert!(Compute::Cpu.device().is_ok());
        assert_eq!(Compute::default(), Compute::Cpu);
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_program_without_cuda_says_how_to_get_one() {
        let error = Compute::Cuda.device().err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("--features cuda"), "{error}");
    }
}
