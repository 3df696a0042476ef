//! Initial weights, drawn on the host so that a seed gives the same model on every device.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::arch::{Architecture, HeadShape, HostTensor, Weights};

/// Standard deviation of linear weights in the decoder blocks, truncated at two deviations.
const BLOCK_STD: f32 = 0.01;

fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let u: f32 = rng.random_range(f32::MIN_POSITIVE..1.0);
    let v: f32 = rng.random();
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

fn truncated_normal(rng: &mut ChaCha8Rng, std: f32) -> f32 {
    loop {
        let x = normal(rng);
        if x.abs() <= 2.0 {
            return x * std;
        }
    }
}

/// Collects named tensors, drawing random ones from one generator in a fixed order.
struct Builder<'a> {
    weights: Weights,
    rng: &'a mut ChaCha8Rng,
}

impl Builder<'_> {
    fn random(&mut self, name: &str, shape: &[usize], std: f32) {
        let count = shape.iter().product();
        let values = (0..count).map(|_| truncated_normal(self.rng, std)).collect();
        self.put(name, shape, values);
    }

    fn constant(&mut self, name: &str, shape: &[usize], value: f32) {
        let count = shape.iter().product();
        self.put(name, shape, vec![value; count]);
    }

    fn put(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        self.weights.insert(name.to_owned(), HostTensor { shape: shape.to_vec(), values });
    }

    fn linear(&mut self, name: &str, input: usize, output: usize, std: f32) {
        self.random(&format!("{name}.weight"), &[input, output], std);
        self.constant(&format!("{name}.bias"), &[output], 0.0);
    }

    fn norm(&mut self, name: &str, size: usize) {
        self.constant(&format!("{name}.gamma"), &[size], 1.0);
        self.constant(&format!("{name}.beta"), &[size], 0.0);
    }

    /// He-initialised convolution of `side` x `side`.
    fn conv(&mut self, name: &str, input: usize, output: usize, side: usize) {
        self.kernel(name, input, output, side);
        self.constant(&format!("{name}.bias"), &[output], 0.0);
    }

    /// The same without a bias.
    fn kernel(&mut self, name: &str, input: usize, output: usize, side: usize) {
        let std = (2.0 / (input * side * side) as f32).sqrt();
        self.random(&format!("{name}.weight"), &[output, input, side, side], std);
    }
}

/// Decoder weights (bottleneck, position, blocks, outputs) without `taps.*`.
pub fn init_decoder(arch: &Architecture, rng: &mut ChaCha8Rng) -> Weights {
    let (w, c) = (arch.width, arch.channels());
    let hidden = w * arch.mlp_ratio;
    let mut b = Builder { weights: Weights::new(), rng };
    // The bottleneck sees standardised features and has no residual path, so its weights keep
    // the variance; the blocks start near the identity. The published scheme starts all alike.
    if arch.is_projected() {
        b.linear("bottleneck.fc1", c, arch.bottleneck, (2.0 / c as f32).sqrt());
        b.linear("bottleneck.fc2", arch.bottleneck, w, (2.0 / arch.bottleneck as f32).sqrt());
        b.random("position", &[arch.tokens(), w], 0.02);
    } else {
        b.linear("bottleneck.fc1", arch.input_channels(), arch.bottleneck, BLOCK_STD);
        b.linear("bottleneck.fc2", arch.bottleneck, w, BLOCK_STD);
    }
    for i in 0..arch.depth {
        let name = |part: &str| format!("block.{i}.{part}");
        b.norm(&name("norm1"), w);
        b.linear(&name("qkv"), w, 3 * w, BLOCK_STD);
        b.linear(&name("proj"), w, w, BLOCK_STD);
        b.norm(&name("norm2"), w);
        b.linear(&name("fc1"), w, hidden, BLOCK_STD);
        b.linear(&name("fc2"), hidden, w, BLOCK_STD);
    }
    let projections = if arch.is_projected() { arch.groups.len() } else { 0 };
    for g in 0..projections {
        b.norm(&format!("out.{g}.norm"), w);
        b.linear(&format!("out.{g}.fc"), w, arch.group_channels(g).len(), (1.0 / w as f32).sqrt());
    }
    b.weights
}

/// Segmentation head weights.
pub fn init_head(arch: &Architecture, rng: &mut ChaCha8Rng) -> Weights {
    let mut b = Builder { weights: Weights::new(), rng };
    // Defects cover a few percent of the pixels: starting from that prior spares the first
    // iterations learning it.
    const PRIOR: f32 = 0.02;
    let prior = (PRIOR / (1.0 - PRIOR)).ln();
    match arch.head {
        HeadShape::Slim([wide, narrow]) => {
            b.conv("head.conv0", arch.channels(), wide, 1);
            b.conv("head.conv1", wide, wide, 3);
            b.conv("head.conv2", wide, narrow, 3);
            b.conv("head.conv3", narrow, 1, 3);
            b.constant("head.conv3.bias", &[1], prior);
        }
        HeadShape::Parity => {
            for conv in arch.parity_convs() {
                b.kernel(&conv.name, conv.input, conv.output, 3);
                for (part, value) in [("gamma", 1.0), ("beta", 0.0), ("mean", 0.0), ("var", 1.0)] {
                    b.constant(&format!("{}.{part}", conv.name), &[conv.output], value);
                }
            }
            b.kernel("head.out", arch.parity_channels(), 2, 3);
            b.put("head.out.bias", &[2], vec![0.0, prior]);
        }
    }
    b.weights
}
