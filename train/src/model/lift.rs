//! Weights on a device, and gradients back on the host.

use std::cell::RefCell;

use burn::tensor::{Device, Gradients, Tensor, TensorData};

use crate::arch::{HostTensor, Weights};

/// A float tensor on `device` from host values in row-major order.
pub fn tensor_from<const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// One lifted weight, kept to ask for its gradient later. Ranks are erased by flattening before
/// use: gradients are read as flat vectors anyway.
struct Leaf {
    name: String,
    tensor: Tensor<1>,
}

/// Lifts named weights onto a device and remembers the trainable ones.
///
/// Every weight enters the graph as a flat leaf and is reshaped (a view) to its shape, so that
/// one list can hold leaves of every rank.
pub struct Lifted<'a> {
    weights: &'a Weights,
    device: Device,
    trainable: bool,
    leaves: RefCell<Vec<Leaf>>,
}

impl<'a> Lifted<'a> {
    /// Weights for inference: no graph is recorded.
    pub fn frozen(weights: &'a Weights, device: &Device) -> Self {
        Self::new(weights, device.clone(), false)
    }

    /// Weights whose gradients will be asked for; `device` must have autodiff.
    pub fn trainable(weights: &'a Weights, device: &Device) -> Self {
        Self::new(weights, device.clone(), true)
    }

    fn new(weights: &'a Weights, device: Device, trainable: bool) -> Self {
        Self { weights, device, trainable, leaves: RefCell::new(Vec::new()) }
    }

    /// Where the tensors live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The weight `name` on the host.
    ///
    /// # Panics
    /// When the name is missing.
    pub fn host(&self, name: &str) -> &HostTensor {
        match self.weights.get(name) {
            Some(host) => host,
            None => panic!("weight {name} is missing"),
        }
    }

    /// The weight `name` as a tensor of rank `D`.
    ///
    /// # Panics
    /// When the name is missing or the rank differs: `Weights` are checked against the
    /// architecture where they enter the program.
    pub fn get<const D: usize>(&self, name: &str) -> Tensor<D> {
        let host = self.host(name);
        let Ok(shape) = <[usize; D]>::try_from(host.shape.as_slice()) else {
            panic!("weight {name} has shape {:?}, rank {D} is needed", host.shape)
        };
        let flat = tensor_from(host.values.clone(), [host.values.len()], &self.device);
        if !self.trainable {
            return flat.reshape(shape);
        }
        let leaf = flat.require_grad();
        self.leaves.borrow_mut().push(Leaf { name: name.to_owned(), tensor: leaf.clone() });
        leaf.reshape(shape)
    }

    /// Adds the gradients of one backward pass to `sum`, by weight name.
    pub fn add_gradients(&self, grads: &mut Gradients, sum: &mut Weights) {
        for leaf in self.leaves.borrow().iter() {
            let Some(grad) = leaf.tensor.grad_remove(grads) else { continue };
            let values = host_values(grad);
            match sum.get_mut(&leaf.name) {
                Some(total) => {
                    for (t, g) in total.values.iter_mut().zip(&values) {
                        *t += g;
                    }
                }
                None => {
                    let shape = self.weights[&leaf.name].shape.clone();
                    sum.insert(leaf.name.clone(), HostTensor { shape, values });
                }
            }
        }
    }
}

/// The values of a tensor on the host, row-major.
///
/// # Panics
/// When the tensor is not f32: all tensors here are.
pub fn host_values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    match tensor.into_data().try_into_vec::<f32>() {
        Ok(values) => values,
        Err(e) => panic!("an f32 tensor holds other values: {e:?}"),
    }
}
