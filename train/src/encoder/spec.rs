//! The supported encoders behind one type: names, tensors, taps, licence.

use super::lite::{self, LITES, LiteSpec};
use super::resnet::{self, RESNETS, ResnetSpec};
use super::vit::{VITS, VitSpec};

/// A tensor's name and shape.
pub type NamedShape = (String, Vec<usize>);

/// One supported encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderSpec {
    /// EfficientNet-Lite.
    Lite(&'static LiteSpec),
    /// ResNet and wide ResNet.
    Resnet(&'static ResnetSpec),
    /// DINOv2 vision transformer with registers.
    Vit(VitSpec),
}

/// Under which terms an encoder's weights are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// SPDX expression of a bundle that contains the encoder.
    pub spdx: &'static str,
    /// What is to be said about the weights, after the encoder's name.
    pub notice: &'static str,
}

impl EncoderSpec {
    /// All of them, with their published names.
    pub fn all() -> impl Iterator<Item = EncoderSpec> {
        let lites = LITES.iter().map(EncoderSpec::Lite);
        let resnets = RESNETS.iter().map(EncoderSpec::Resnet);
        lites.chain(resnets).chain(VITS.iter().copied().map(EncoderSpec::Vit))
    }

    /// The encoder called `name`.
    pub fn named(name: &str) -> Option<EncoderSpec> {
        Self::all().find(|e| e.name() == name)
    }

    /// Name as in `Architecture::encoder`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lite(spec) => spec.name,
            Self::Resnet(spec) => spec.name,
            Self::Vit(spec) => spec.name,
        }
    }

    /// Names and shapes of all tensors up to the last tap; what comes behind is not part of it.
    pub fn tensors(&self) -> Vec<NamedShape> {
        match self {
            Self::Lite(spec) => spec.tensors(),
            Self::Resnet(spec) => spec.tensors(),
            Self::Vit(spec) => spec.tensors(),
        }
    }

    /// Tensors that only a larger relative has, whose other tensors may all fit.
    pub(super) fn absent(&self) -> Vec<String> {
        match self {
            Self::Lite(spec) => vec![lite::block_name(spec.blocks().len())],
            Self::Resnet(spec) => spec.absent(),
            Self::Vit(spec) => spec.absent(),
        }
    }

    /// Channels of the tap `name` and input pixels for each of its pixels.
    pub fn tap(&self, name: &str) -> Option<(usize, usize)> {
        match self {
            Self::Lite(spec) => spec.tap(name),
            Self::Resnet(spec) => spec.tap(name),
            Self::Vit(spec) => spec.tap(name),
        }
    }

    /// Input sides are multiples of this.
    pub fn input_multiple(&self) -> usize {
        match self {
            Self::Lite(_) => lite::INPUT_MULTIPLE,
            Self::Resnet(_) => resnet::INPUT_MULTIPLE,
            Self::Vit(_) => super::vit::PATCH,
        }
    }

    /// Whether it is a convolutional network, whose taps are called by their stride.
    pub fn is_convolutional(&self) -> bool {
        match self {
            Self::Lite(_) | Self::Resnet(_) => true,
            Self::Vit(_) => false,
        }
    }

    /// Tokens before those of the picture: class and registers.
    pub fn extra_tokens(&self) -> usize {
        match self {
            Self::Lite(_) | Self::Resnet(_) => 0,
            Self::Vit(_) => super::vit::EXTRA_TOKENS,
        }
    }

    /// Under which terms a bundle with this encoder is passed on.
    pub fn terms(&self) -> Terms {
        match self {
            Self::Lite(_) => Terms {
                spdx: "Apache-2.0",
                notice: "pretrained on ImageNet and published under the Apache License 2.0 \
                         (https://www.apache.org/licenses/LICENSE-2.0)",
            },
            Self::Resnet(_) | Self::Vit(_) => Terms {
                spdx: "Apache-2.0 AND LicenseRef-encoder-weights",
                notice: "supplied by whoever trained this model: the terms of its publisher hold \
                         for them",
            },
        }
    }
}

/// The four tensors of a batch normalisation.
pub(super) fn push_norm(all: &mut Vec<NamedShape>, prefix: &str, channels: usize) {
    for part in ["weight", "bias", "running_mean", "running_var"] {
        all.push((format!("{prefix}.{part}"), vec![channels]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoder_is_found_by_its_name_and_has_taps_of_its_own_width() {
        for spec in EncoderSpec::all() {
            assert_eq!(EncoderSpec::named(spec.name()), Some(spec));
            assert_eq!(spec.tap("f3"), None);
        }
        let tap = |name: &str, tap: &str| EncoderSpec::named(name).unwrap().tap(tap);
        assert_eq!(tap("efficientnet_lite2", "f16"), Some((120, 16)));
        assert_eq!(tap("resnet18", "f4"), Some((64, 4)));
        assert_eq!(tap("wide_resnet50_2", "f32"), Some((2048, 32)));
        assert_eq!(tap("vit_base_patch14_reg4_dinov2", "b2+3"), Some((768, 14)));
        assert_eq!(tap("vit_base_patch14_reg4_dinov2", "b10"), None, "not run");
        assert_eq!(tap("vit_large_patch14_reg4_dinov2", "b18"), Some((1024, 14)));
    }
}
