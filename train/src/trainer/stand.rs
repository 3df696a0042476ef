//! Which encoder a preset stands on: the published models on their own, all others on any
//! convolutional one. Its file says which it is.

use std::path::Path;

use clap::ValueEnum;

use super::settings::{Preset, Settings};
use super::{TrainError, TrainErrorKind};
use crate::encoder::nodes;
use crate::encoder::spec::EncoderSpec;

impl Preset {
    /// Whether it can stand on this encoder.
    pub fn takes(self, encoder: &EncoderSpec) -> bool {
        let arch = self.settings().arch;
        arch.encoder == encoder.name() || arch.is_projected() && encoder.is_convolutional()
    }

    /// The preset that is usual for this encoder.
    pub fn usual_for(encoder: &EncoderSpec) -> Option<Self> {
        // Of those that take convolutional encoders the default one.
        let first = std::iter::once(Self::Edge);
        first.chain(Self::value_variants().iter().copied()).find(|preset| preset.takes(encoder))
    }

    /// The settings of this preset on the encoder found in `file`: its name, and as many channels
    /// as its taps have.
    ///
    /// # Errors
    /// When the preset does not take this encoder; the message says which ones it takes, and which
    /// presets would take it.
    pub fn settings_on(self, encoder: &EncoderSpec, file: &Path) -> Result<Settings, TrainError> {
        let mut settings = self.settings();
        if !self.takes(encoder) {
            return Err(TrainError::new(TrainErrorKind::Encoder, self.refusal(encoder, file)));
        }
        encoder.name().clone_into(&mut settings.arch.encoder);
        for tap in &mut settings.arch.taps {
            // A tap that the encoder has not is left as it is: the check below names it.
            if let Some((channels, stride)) = encoder.tap(&tap.name) {
                (tap.channels, tap.stride) = (channels, stride);
            }
        }
        nodes::check(&settings.arch, encoder)?;
        Ok(settings)
    }

    fn refusal(self, encoder: &EncoderSpec, file: &Path) -> String {
        let encoders = EncoderSpec::all().filter(|other| self.takes(other));
        let presets = Self::value_variants().iter().filter(|preset| preset.takes(encoder));
        let takes = any_of(encoders.map(|encoder| encoder.name()));
        let others = any_of(presets.map(|preset| preset.as_str()));
        format!(
            "--preset {} takes {takes}, and {} is {}: give another file, or --preset {others}",
            self.as_str(),
            file.display(),
            encoder.name()
        )
    }
}

/// `a, b or c`.
fn any_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::check_architecture;

    #[test]
    fn every_encoder_has_presets_and_those_on_it_are_sound() {
        for encoder in EncoderSpec::all() {
            let usual = Preset::usual_for(&encoder).unwrap();
            assert_eq!(usual == Preset::Edge, encoder.is_convolutional(), "{}", encoder.name());
            for preset in Preset::value_variants() {
                let settings = preset.settings_on(&encoder, Path::new("file"));
                if !preset.takes(&encoder) {
                    assert_eq!(settings.unwrap_err().kind(), TrainErrorKind::Encoder);
                    continue;
                }
                let arch = settings.unwrap().arch;
                assert_eq!(arch.encoder, encoder.name());
                check_architecture(&arch).unwrap();
            }
        }
    }

    #[test]
    fn its_own_encoder_leaves_a_preset_as_it_is_and_another_changes_the_taps_only() {
        for preset in Preset::value_variants() {
            let own = preset.settings();
            let spec = EncoderSpec::named(&own.arch.encoder).unwrap();
            assert_eq!(preset.settings_on(&spec, Path::new("")).unwrap(), own);
        }
        let spec = EncoderSpec::named("wide_resnet50_2").unwrap();
        let mut wide = Preset::Accurate.settings_on(&spec, Path::new("")).unwrap();
        let channels: Vec<usize> = wide.arch.taps.iter().map(|tap| tap.channels).collect();
        assert_eq!(channels, [256, 512, 1024, 2048]);
        let own = Preset::Accurate.settings();
        (wide.arch.encoder, wide.arch.taps) = (own.arch.encoder.clone(), own.arch.taps.clone());
        assert_eq!(wide, own);
    }

    #[test]
    fn a_refusal_says_what_is_taken_and_who_takes_this_one() {
        let refusal = |preset: Preset, name: &str| {
            let encoder = EncoderSpec::named(name).unwrap();
            preset.settings_on(&encoder, Path::new("e/x.safetensors")).unwrap_err().to_string()
        };
        assert_eq!(
            refusal(Preset::PaperS, "vit_base_patch14_reg4_dinov2"),
            "--preset paper-s takes vit_small_patch14_reg4_dinov2, and e/x.safetensors is \
             vit_base_patch14_reg4_dinov2: give another file, or --preset paper-b"
        );
        let text = refusal(Preset::PaperB, "resnet18");
        assert!(text.ends_with("or --preset accurate, edge or tiny"), "{text}");
        let text = refusal(Preset::Edge, "vit_small_patch14_reg4_dinov2");
        assert!(
            text.contains("efficientnet_lite2, resnet18, resnet50 or wide_resnet50_2"),
            "{text}"
        );
        assert!(text.ends_with("or --preset paper-s"), "{text}");
    }
}
