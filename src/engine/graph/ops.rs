//! The operators. Each checks its operands and knows the shape of its result.

use tract_onnx::pb::tensor_proto::DataType;

use super::builder::{Conv2d, GraphBuilder, Value, attr_float, attr_int, attr_ints};

impl GraphBuilder {
    /// `Cast` to FLOAT.
    pub fn cast_f32(&mut self, name: &str, x: &Value) -> Value {
        let to = attr_int("to", DataType::Float as i64);
        self.node("Cast", name, &[x], vec![to], x.shape.clone())
    }

    /// `Cast` of whole numbers from 0 to 255 to UINT8.
    pub fn cast_u8(&mut self, name: &str, x: &Value) -> Value {
        let to = attr_int("to", DataType::Uint8 as i64);
        self.node("Cast", name, &[x], vec![to], x.shape.clone())
    }

    /// Whether the one is greater, elementwise with broadcasting: BOOL, false for NaN.
    pub fn greater(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.binary("Greater", name, a, b)
    }

    /// Elementwise sum with broadcasting.
    pub fn add(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.binary("Add", name, a, b)
    }

    /// Elementwise difference with broadcasting.
    pub fn sub(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.binary("Sub", name, a, b)
    }

    /// Elementwise product with broadcasting.
    pub fn mul(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.binary("Mul", name, a, b)
    }

    /// Elementwise quotient with broadcasting.
    pub fn div(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.binary("Div", name, a, b)
    }

    /// `max(x, 0)`.
    pub fn relu(&mut self, name: &str, x: &Value) -> Value {
        self.unary("Relu", name, x)
    }

    /// The smaller of two, elementwise with broadcasting.
    pub fn min(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.binary("Min", name, a, b)
    }

    /// The next whole number down.
    pub fn floor(&mut self, name: &str, x: &Value) -> Value {
        self.unary("Floor", name, x)
    }

    /// Every `step`-th of `from..to` along `axis`; all of it is the value itself.
    pub fn strided(
        &mut self,
        name: &str,
        x: &Value,
        axis: usize,
        (from, to, step): (usize, usize, usize),
    ) -> Value {
        let length = x.shape.get(axis).copied();
        if (from, Some(to), step) == (0, length, 1) {
            return x.clone();
        }
        let fits = (step > 0 && from < to && length.is_some_and(|l| to <= l)).then(|| {
            let mut shape = x.shape.clone();
            shape[axis] = (to - from).div_ceil(step);
            shape
        });
        let shape = self.require(name, fits, &[x]);
        let [from, to, step, axis] = [("from", from), ("to", to), ("step", step), ("axis", axis)]
            .map(|(part, value)| self.integers(&format!("{name}.{part}"), &[value as i64]));
        self.node("Slice", name, &[x, &from, &to, &axis, &step], vec![], shape)
    }

    /// Logistic function.
    pub fn sigmoid(&mut self, name: &str, x: &Value) -> Value {
        self.unary("Sigmoid", name, x)
    }

    /// Square root.
    pub fn sqrt(&mut self, name: &str, x: &Value) -> Value {
        self.unary("Sqrt", name, x)
    }

    /// `x` to the power of `exponent`; `x` must not be negative.
    pub fn pow(&mut self, name: &str, x: &Value, exponent: f32) -> Value {
        let exponent = self.constant(&format!("{name}.exponent"), &[], &[exponent]);
        self.binary("Pow", name, x, &exponent)
    }

    /// `elu(x) + 1`: `x + 1` above zero, `exp(x)` below.
    pub fn elu_plus_one(&mut self, name: &str, x: &Value) -> Value {
        // Written as relu(x) + exp(min(x, 0)): no comparison and selection, vectorised everywhere.
        let zero = self.constant(&format!("{name}.zero"), &[], &[0.0]);
        let above = self.relu(&format!("{name}.above"), x);
        let below = self.binary("Min", &format!("{name}.below"), x, &zero);
        let exp = self.unary("Exp", &format!("{name}.exp"), &below);
        self.add(name, &above, &exp)
    }

    /// GELU by the error function, in the form that runtimes recognise and fuse.
    pub fn gelu(&mut self, name: &str, x: &Value) -> Value {
        let at = |part: &str| format!("{name}.{part}");
        let inv_sqrt2 = self.constant(&at("inv_sqrt2"), &[], &[2f32.sqrt().recip()]);
        let one = self.constant(&at("one"), &[], &[1.0]);
        let half = self.constant(&at("half"), &[], &[0.5]);
        let scaled = self.mul(&at("scaled"), x, &inv_sqrt2);
        let erf = self.unary("Erf", &at("erf"), &scaled);
        let erf = self.add(&at("erf_plus_one"), &erf, &one);
        let half_x = self.mul(&at("half_x"), x, &half);
        self.mul(name, &half_x, &erf)
    }

    /// `min(max(x, low), high)`.
    pub fn clip(&mut self, name: &str, x: &Value, low: f32, high: f32) -> Value {
        let low = self.constant(&format!("{name}.low"), &[], &[low]);
        let high = self.constant(&format!("{name}.high"), &[], &[high]);
        self.node("Clip", name, &[x, &low, &high], vec![], x.shape.clone())
    }

    /// Matrix product of the last two dimensions, leading ones broadcast.
    pub fn matmul(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        let shape = match (a.shape.as_slice(), b.shape.as_slice()) {
            ([lead_a @ .., m, k], [lead_b @ .., k2, n]) if k == k2 => {
                broadcast(lead_a, lead_b).map(|lead| [lead, vec![*m, *n]].concat())
            }
            _ => None,
        };
        let shape = self.require(name, shape, &[a, b]);
        self.node("MatMul", name, &[a, b], vec![], shape)
    }

    /// Convolution of `x` `[1, in, h, w]` by `weight` `[out, in / groups, kh, kw]`.
    pub fn conv(
        &mut self,
        name: &str,
        x: &Value,
        weight: &Value,
        bias: &Value,
        conv: Conv2d,
    ) -> Value {
        let (before, after) = conv.pads;
        let side = |input: usize, kernel: usize| {
            (input + before + after).checked_sub(kernel).map(|room| room / conv.stride + 1)
        };
        let shape = match (x.shape.as_slice(), weight.shape.as_slice(), bias.shape.as_slice()) {
            ([n, c, h, w], [o, i, kh, kw], [b]) if *c == i * conv.groups && o == b => {
                side(*h, *kh).zip(side(*w, *kw)).map(|(h, w)| vec![*n, *o, h, w])
            }
            _ => None,
        };
        let shape = self.require(name, shape, &[x, weight, bias]);
        let kernel = weight.shape.get(2..).unwrap_or_default().to_vec();
        let attributes = vec![
            attr_ints("dilations", &[1, 1]),
            attr_int("group", conv.groups as i64),
            attr_ints("kernel_shape", &kernel),
            attr_ints("pads", &[before, before, after, after]),
            attr_ints("strides", &[conv.stride, conv.stride]),
        ];
        self.node("Conv", name, &[x, weight, bias], attributes, shape)
    }

    /// Average pooling of `[1, c, h, w]` over `factor` x `factor` pixels.
    pub fn average_pool(&mut self, name: &str, x: &Value, factor: usize) -> Value {
        let shape = match x.shape.as_slice() {
            [n, c, h, w] if factor > 0 && h % factor == 0 && w % factor == 0 => {
                Some(vec![*n, *c, h / factor, w / factor])
            }
            _ => None,
        };
        let shape = self.require(name, shape, &[x]);
        let attributes = vec![
            attr_ints("kernel_shape", &[factor, factor]),
            attr_ints("strides", &[factor, factor]),
        ];
        self.node("AveragePool", name, &[x], attributes, shape)
    }

    /// Maximum pooling of `[1, c, h, w]`, `pad` rows and columns of nothing on every side.
    pub fn max_pool(
        &mut self,
        name: &str,
        x: &Value,
        kernel: usize,
        stride: usize,
        pad: usize,
    ) -> Value {
        let side = |side: usize| (side + 2 * pad).checked_sub(kernel).map(|r| r / stride + 1);
        let shape = match x.shape.as_slice() {
            [n, c, h, w] if stride > 0 => side(*h).zip(side(*w)).map(|(h, w)| vec![*n, *c, h, w]),
            _ => None,
        };
        let shape = self.require(name, shape, &[x]);
        let attributes = vec![
            attr_ints("kernel_shape", &[kernel, kernel]),
            attr_ints("pads", &[pad; 4]),
            attr_ints("strides", &[stride, stride]),
        ];
        self.node("MaxPool", name, &[x], attributes, shape)
    }

    /// Permutes the dimensions.
    pub fn transpose(&mut self, name: &str, x: &Value, perm: &[usize]) -> Value {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        let valid = sorted.iter().copied().eq(0..x.shape.len());
        let shape = valid.then(|| perm.iter().map(|p| x.shape[*p]).collect());
        let shape = self.require(name, shape, &[x]);
        self.node("Transpose", name, &[x], vec![attr_ints("perm", perm)], shape)
    }

    /// The same values in other dimensions.
    pub fn reshape(&mut self, name: &str, x: &Value, shape: &[usize]) -> Value {
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        let fits = (count(shape) == count(&x.shape)).then(|| shape.to_vec());
        let shape = self.require(name, fits, &[x]);
        let dims: Vec<i64> = shape.iter().map(|d| *d as i64).collect();
        let dims = self.integers(&format!("{name}.shape"), &dims);
        self.node("Reshape", name, &[x, &dims], vec![], shape)
    }

    /// Joins tensors along `axis`.
    pub fn concat(&mut self, name: &str, parts: &[&Value], axis: usize) -> Value {
        let alike = |a: &Value, b: &Value| {
            a.shape.len() == b.shape.len()
                && (0..a.shape.len()).all(|d| d == axis || a.shape[d] == b.shape[d])
        };
        let shape = match parts {
            [first, rest @ ..]
                if axis < first.shape.len() && rest.iter().all(|p| alike(first, p)) =>
            {
                let mut shape = first.shape.clone();
                shape[axis] = parts.iter().map(|p| p.shape[axis]).sum();
                Some(shape)
            }
            _ => None,
        };
        let shape = self.require(name, shape, parts);
        self.node("Concat", name, parts, vec![attr_int("axis", axis as i64)], shape)
    }

    /// Columns `range` of the last dimension.
    pub fn columns(&mut self, name: &str, x: &Value, range: std::ops::Range<usize>) -> Value {
        let fits = x.shape.split_last().filter(|(last, _)| range.end <= **last);
        let shape = fits.map(|(_, lead)| [lead, &[range.len()]].concat());
        let shape = self.require(name, shape, &[x]);
        let starts = self.integers(&format!("{name}.start"), &[range.start as i64]);
        let ends = self.integers(&format!("{name}.end"), &[range.end as i64]);
        let axes = self.integers(&format!("{name}.axis"), &[x.shape.len() as i64 - 1]);
        self.node("Slice", name, &[x, &starts, &ends, &axes], vec![], shape)
    }

    /// Rows `range` of the first dimension.
    pub fn row_range(&mut self, name: &str, x: &Value, range: std::ops::Range<usize>) -> Value {
        let fits = x.shape.split_first().filter(|(first, _)| range.end <= **first);
        let shape = fits.map(|(_, rest)| [&[range.len()], rest].concat());
        let shape = self.require(name, shape, &[x]);
        let starts = self.integers(&format!("{name}.start"), &[range.start as i64]);
        let ends = self.integers(&format!("{name}.end"), &[range.end as i64]);
        let axes = self.integers(&format!("{name}.axis"), &[0]);
        self.node("Slice", name, &[x, &starts, &ends, &axes], vec![], shape)
    }

    /// Softmax over the last dimension.
    pub fn softmax(&mut self, name: &str, x: &Value) -> Value {
        self.node("Softmax", name, &[x], vec![attr_int("axis", -1)], x.shape.clone())
    }

    /// Mean of tensors of one shape; of a single one, itself.
    pub fn mean_of(&mut self, name: &str, parts: &[&Value]) -> Value {
        let [first, rest @ ..] = parts else {
            self.fail(name, "a mean of nothing");
            return Value { name: name.to_owned(), shape: Vec::new() };
        };
        let mut sum = (*first).clone();
        for (i, part) in rest.iter().enumerate() {
            sum = self.add(&format!("{name}.sum{i}"), &sum, part);
        }
        if rest.is_empty() {
            return sum;
        }
        let share = self.constant(&format!("{name}.share"), &[], &[1.0 / parts.len() as f32]);
        self.mul(name, &sum, &share)
    }

    /// Mean 0 and variance 1 over the last dimension: a norm whose `gamma` and `beta` are folded
    /// into the layer behind it.
    pub fn normalised(&mut self, name: &str, x: &Value, epsilon: f64) -> Value {
        let width = x.shape.last().copied().unwrap_or(0);
        let ones = self.constant(&format!("{name}.ones"), &[width], &vec![1.0; width]);
        self.layer_norm(name, x, &ones, epsilon as f32)
    }

    /// Normalises the last dimension to mean 0 and variance 1, then `* gamma`.
    pub fn layer_norm(&mut self, name: &str, x: &Value, gamma: &Value, epsilon: f32) -> Value {
        let last = x.shape.last().copied().unwrap_or(0);
        let fits = (gamma.shape == [last]).then(|| x.shape.clone());
        let shape = self.require(name, fits, &[x, gamma]);
        let attributes = vec![attr_int("axis", -1), attr_float("epsilon", epsilon)];
        self.node("LayerNormalization", name, &[x, gamma], attributes, shape)
    }

    /// Sum over `axis`, kept as a dimension of one.
    pub fn sum(&mut self, name: &str, x: &Value, axis: usize) -> Value {
        self.reduce("ReduceSum", name, x, axis, true)
    }

    /// Maximum over `axis`, which is dropped.
    pub fn max_over(&mut self, name: &str, x: &Value, axis: usize) -> Value {
        self.reduce("ReduceMax", name, x, axis, false)
    }

    /// Mean over `axis`, which is dropped.
    pub fn mean_over(&mut self, name: &str, x: &Value, axis: usize) -> Value {
        self.reduce("ReduceMean", name, x, axis, false)
    }

    /// The `k` largest values of a vector, in falling order, and their positions.
    pub fn top_k(&mut self, name: &str, x: &Value, k: usize) -> (Value, Value) {
        let fits = (x.shape.len() == 1 && k <= x.shape[0]).then(|| vec![k]);
        let shape = self.require(name, fits, &[x]);
        let count = self.integers(&format!("{name}.k"), &[k as i64]);
        let top = self.node("TopK", name, &[x, &count], vec![attr_int("axis", 0)], shape.clone());
        let index = self.second_output(&format!("{name}.index"), shape);
        (top, index)
    }

    /// The rows of `x` at the positions `index` (of integers).
    pub fn rows(&mut self, name: &str, x: &Value, index: &Value) -> Value {
        let shape = match (x.shape.as_slice(), index.shape.as_slice()) {
            ([_, rest @ ..], [count]) => Some([&[*count], rest].concat()),
            _ => None,
        };
        let shape = self.require(name, shape, &[x, index]);
        self.node("Gather", name, &[x, index], vec![attr_int("axis", 0)], shape)
    }

    fn reduce(&mut self, op: &str, name: &str, x: &Value, axis: usize, keep: bool) -> Value {
        let mut shape = x.shape.clone();
        if axis >= shape.len() {
            self.fail(name, format!("no axis {axis} in {shape:?}"));
        } else if keep {
            shape[axis] = 1;
        } else {
            shape.remove(axis);
        }
        let axes = self.integers(&format!("{name}.axes"), &[axis as i64]);
        self.node(op, name, &[x, &axes], vec![attr_int("keepdims", i64::from(keep))], shape)
    }

    fn unary(&mut self, op: &str, name: &str, x: &Value) -> Value {
        self.node(op, name, &[x], vec![], x.shape.clone())
    }

    fn binary(&mut self, op: &str, name: &str, a: &Value, b: &Value) -> Value {
        let shape = broadcast(&a.shape, &b.shape);
        let shape = self.require(name, shape, &[a, b]);
        self.node(op, name, &[a, b], vec![], shape)
    }

    /// `shape`, or a recorded mistake and an empty one.
    fn require(
        &mut self,
        name: &str,
        shape: Option<Vec<usize>>,
        operands: &[&Value],
    ) -> Vec<usize> {
        shape.unwrap_or_else(|| {
            let shapes: Vec<_> = operands.iter().map(|v| v.shape.clone()).collect();
            self.fail(name, format!("operand shapes {shapes:?} do not fit"));
            Vec::new()
        })
    }
}

/// The shape two operands broadcast to.
fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let dim = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |at| s[at]);
    (0..rank)
        .map(|i| match (dim(a, i), dim(b, i)) {
            (x, y) if x == y || y == 1 => Some(x),
            (1, y) => Some(y),
            _ => None,
        })
        .collect()
}
