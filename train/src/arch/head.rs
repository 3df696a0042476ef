//! The segmentation head (step 6 of [`super`]) in its two shapes.

use serde::{Deserialize, Serialize};

use super::Architecture;

/// Stages of the published head; each doubles the side and halves the channels.
const STAGES: usize = 3;
/// Convolutions of a stage.
const CONVOLUTIONS: usize = 3;

/// What the segmentation head looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadShape {
    /// Four convolutions, up to twice the grid; channels at the grid and at twice the grid.
    Slim([usize; 2]),
    /// The published one: nine convolutions with batch normalisation, up to the map's size.
    Parity,
}

/// One convolution of the published head, 3x3, with the batch normalisation behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParityConv {
    /// What the names of its weights begin with.
    pub name: String,
    /// Channels in.
    pub input: usize,
    /// Channels out.
    pub output: usize,
    /// Side of what it reads and writes.
    pub side: usize,
    /// Whether its input is doubled in size first.
    pub doubles: bool,
}

impl Architecture {
    /// Channels of all groups side by side: what the head reads.
    pub fn grouped_channels(&self) -> usize {
        (0..self.groups.len()).map(|g| self.group_channels(g).len()).sum()
    }

    /// Side of the head's probability map.
    pub fn segmentation_side(&self) -> usize {
        match self.head {
            HeadShape::Slim(_) => 2 * self.grid,
            HeadShape::Parity => self.map,
        }
    }

    /// The published head's convolutions in order, but for the last one to two channels.
    pub fn parity_convs(&self) -> Vec<ParityConv> {
        let stage = |s: usize| {
            let (input, side) = (self.grouped_channels() >> s, self.grid << (s + 1));
            (0..CONVOLUTIONS).map(move |i| ParityConv {
                name: format!("head.{s}.{i}"),
                input,
                output: if i + 1 == CONVOLUTIONS { input / 2 } else { input },
                side,
                doubles: i == 0,
            })
        };
        (0..STAGES).flat_map(stage).collect()
    }

    /// Channels that the published head's last convolution reads.
    pub fn parity_channels(&self) -> usize {
        self.grouped_channels() >> STAGES
    }

    /// Whether the head can be built on these channels.
    pub fn head_fits(&self) -> bool {
        match self.head {
            HeadShape::Slim(channels) => !channels.contains(&0),
            HeadShape::Parity => self.grouped_channels().is_multiple_of(1 << STAGES),
        }
    }

    /// Names and shapes of the head's weights.
    pub fn head_weights(&self) -> Vec<(String, Vec<usize>)> {
        let [coarse, fine] = match self.head {
            HeadShape::Slim(channels) => channels,
            HeadShape::Parity => return self.parity_weights(),
        };
        let convolutions = [
            (coarse, self.grouped_channels(), 1),
            (coarse, coarse, 3),
            (fine, coarse, 3),
            (1, fine, 3),
        ];
        let named = |(i, (output, input, side)): (usize, (usize, usize, usize))| {
            [
                (format!("head.conv{i}.weight"), vec![output, input, side, side]),
                (format!("head.conv{i}.bias"), vec![output]),
            ]
        };
        convolutions.into_iter().enumerate().flat_map(named).collect()
    }

    fn parity_weights(&self) -> Vec<(String, Vec<usize>)> {
        let mut all = Vec::new();
        for conv in self.parity_convs() {
            let name = &conv.name;
            all.push((format!("{name}.weight"), vec![conv.output, conv.input, 3, 3]));
            for part in ["gamma", "beta", "mean", "var"] {
                all.push((format!("{name}.{part}"), vec![conv.output]));
            }
        }
        all.push(("head.out.weight".to_owned(), vec![2, self.parity_channels(), 3, 3]));
        all.push(("head.out.bias".to_owned(), vec![2]));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{paper_b, paper_s};

    /// Millions of trained values and thousands of millions of products for one picture.
    fn size(arch: &Architecture) -> (f64, f64) {
        let trained = |name: &str| !name.ends_with(".mean") && !name.ends_with(".var");
        let weights = arch.head_weights();
        let values = weights.iter().filter(|(name, _)| trained(name));
        let values: usize = values.map(|(_, shape)| shape.iter().product::<usize>()).sum();
        let products = |c: &ParityConv| c.input * c.output * 9 * c.side * c.side;
        let products: usize = arch.parity_convs().iter().map(products).sum();
        (values as f64 / 1e6, products as f64 / 1e9)
    }

    #[test]
    fn the_published_head_has_the_published_number_of_parameters() {
        let with_parity = |arch| Architecture { head: HeadShape::Parity, ..arch };
        let (values, products) = size(&with_parity(paper_b()));
        assert!((values - 70.0).abs() < 0.5, "{values} million");
        assert!((products - 499.4).abs() < 0.5, "{products} thousand million products");
        let convs = with_parity(paper_b()).parity_convs();
        let sides: Vec<_> = convs.iter().map(|c| (c.side, c.input, c.output)).collect();
        assert_eq!(sides[0], (56, 1536, 1536));
        assert_eq!(sides[2], (56, 1536, 768));
        assert_eq!(sides[8], (224, 384, 192));
        let (values, _) = size(&with_parity(paper_s()));
        assert!((values - 70.0 / 4.0).abs() < 0.2, "half the channels: {values} million");
    }

    #[test]
    fn channels_that_cannot_be_halved_three_times_and_heads_without_channels_do_not_fit() {
        let head = |head| Architecture { head, ..paper_s() };
        assert!(head(HeadShape::Parity).head_fits());
        assert!(!head(HeadShape::Slim([0, 8])).head_fits());
        let mut odd = head(HeadShape::Parity);
        odd.taps[0].channels = 380;
        assert!(!odd.head_fits(), "764 channels");
    }
}
