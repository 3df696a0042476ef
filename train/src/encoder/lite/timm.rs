//! timm's tensor names of `tf_efficientnet_lite*` -> the published ones.

use std::collections::BTreeMap;

use crate::arch::HostTensor;

/// Layers of a block without and with an expansion: timm's name, the published one.
const SEPARABLE: [(&str, &str); 4] = [
    ("conv_dw", "_depthwise_conv"),
    ("bn1", "_bn1"),
    ("conv_pw", "_project_conv"),
    ("bn2", "_bn2"),
];
const INVERTED: [(&str, &str); 6] = [
    ("conv_pw", "_expand_conv"),
    ("bn1", "_bn0"),
    ("conv_dw", "_depthwise_conv"),
    ("bn2", "_bn1"),
    ("conv_pwl", "_project_conv"),
    ("bn3", "_bn2"),
];

/// The tensors under their published names, when these are timm's; as they are otherwise.
pub(in crate::encoder) fn from_timm(
    tensors: BTreeMap<String, HostTensor>,
) -> BTreeMap<String, HostTensor> {
    if !tensors.contains_key("blocks.0.0.conv_dw.weight") {
        return tensors;
    }
    let blocks = |stage: usize| {
        let there = |n: &usize| tensors.contains_key(&format!("blocks.{stage}.{n}.conv_dw.weight"));
        (0..).take_while(there).count()
    };
    let counts: Vec<usize> = (0..).map(blocks).take_while(|n| *n > 0).collect();
    let renamed = |name: String| published(&name, &counts).unwrap_or(name);
    tensors.into_iter().map(|(name, tensor)| (renamed(name), tensor)).collect()
}

/// `counts` are the blocks of each stage; `None` for a tensor beyond the blocks.
fn published(name: &str, counts: &[usize]) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    match parts[..] {
        ["conv_stem", part] => Some(format!("_conv_stem.{part}")),
        ["bn1", part] => Some(format!("_bn0.{part}")),
        ["blocks", stage, number, layer, part] => {
            let (stage, number): (usize, usize) = (stage.parse().ok()?, number.parse().ok()?);
            let index = counts.get(..stage)?.iter().sum::<usize>() + number;
            let names: &[(&str, &str)] = if stage == 0 { &SEPARABLE } else { &INVERTED };
            let (_, layer) = names.iter().find(|(timm, _)| *timm == layer)?;
            Some(format!("_blocks.{index}.{layer}.{part}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_numbered_through_and_layers_renamed() {
        let cases = [
            ("conv_stem.weight", Some("_conv_stem.weight")),
            ("bn1.running_mean", Some("_bn0.running_mean")),
            ("blocks.0.0.conv_pw.weight", Some("_blocks.0._project_conv.weight")),
            ("blocks.2.1.conv_pw.weight", Some("_blocks.4._expand_conv.weight")),
            ("blocks.2.1.bn3.bias", Some("_blocks.4._bn2.bias")),
            ("conv_head.weight", None),
            ("blocks.9.0.bn1.bias", None),
        ];
        for (timm, wanted) in cases {
            assert_eq!(published(timm, &[1, 2, 2]).as_deref(), wanted, "{timm}");
        }
    }
}
