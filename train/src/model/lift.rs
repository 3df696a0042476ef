//! Weights on a device, and gradients back on the host.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

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

/// Weights that are brought to a device once, for all who lift them there: each when it is first
/// asked for.
pub struct Placed<'a> {
    weights: &'a Weights,
    device: Device,
    /// By name, flat and without a graph.
    tensors: Mutex<BTreeMap<String, Tensor<1>>>,
}

impl<'a> Placed<'a> {
    /// For a device that must have autodiff where the weights are to be learnt.
    pub fn new(weights: &'a Weights, device: &Device) -> Self {
        Self { weights, device: device.clone(), tensors: Mutex::default() }
    }

    fn flat(&self, name: &str, host: &HostTensor) -> Tensor<1> {
        let mut tensors = self.tensors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = tensors.get(name) {
            return there.clone();
        }
        let device = self.device.clone().inner();
        let tensor = tensor_from(host.values.clone(), [host.values.len()], &device);
        tensors.insert(name.to_owned(), tensor.clone());
        tensor
    }
}

/// Lifts named weights onto a device and remembers the trainable ones.
///
/// Every weight enters the graph as a flat leaf and is reshaped (a view) to its shape, so that
/// one list can hold leaves of every rank.
pub struct Lifted<'a> {
    weights: &'a Weights,
    device: Device,
    /// Where they are already, perhaps.
    placed: Option<&'a Placed<'a>>,
    trainable: bool,
    leaves: RefCell<Vec<Leaf>>,
}

impl<'a> Lifted<'a> {
    /// Weights for inference: no graph is recorded.
    pub fn frozen(weights: &'a Weights, device: &Device) -> Self {
        Self::new(weights, device.clone(), None, false)
    }

    /// Weights whose gradients will be asked for; `device` must have autodiff.
    pub fn trainable(weights: &'a Weights, device: &Device) -> Self {
        Self::new(weights, device.clone(), None, true)
    }

    /// [`Self::frozen`] with weights that others use, too; on the device without its autodiff.
    pub fn frozen_at(placed: &'a Placed<'a>) -> Self {
        Self::new(placed.weights, placed.device.clone().inner(), Some(placed), false)
    }

    /// [`Self::trainable`] with weights that others use, too; gradients are this one's own.
    pub fn trainable_at(placed: &'a Placed<'a>) -> Self {
        Self::new(placed.weights, placed.device.clone(), Some(placed), true)
    }

    fn new(
        weights: &'a Weights,
        device: Device,
        placed: Option<&'a Placed<'a>>,
        trainable: bool,
    ) -> Self {
        Self { weights, device, placed, trainable, leaves: RefCell::new(Vec::new()) }
    }

    /// Where the tensors live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// All weights on the host.
    pub fn weights(&self) -> &Weights {
        self.weights
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
        let flat = match self.placed {
            Some(placed) => placed.flat(name, host),
            None => tensor_from(host.values.clone(), [host.values.len()], &self.device),
        };
        if !self.trainable {
            return flat.reshape(shape);
        }
        let leaf = flat.autodiff().require_grad();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Gradients of the sum of `factor w^2`.
    fn gradients(lifted: &Lifted<'_>, factor: f64) -> Vec<f32> {
        let w: Tensor<1> = lifted.get("w");
        let mut sum = Weights::new();
        lifted.add_gradients(&mut (w.clone() * w * factor).sum().backward(), &mut sum);
        sum["w"].values.clone()
    }

    #[test]
    fn weights_that_are_placed_once_give_each_who_lifts_them_gradients_of_its_own() {
        let device = Device::flex().autodiff();
        let host = HostTensor { shape: vec![3], values: vec![0.5, -2.0, 7.0] };
        let weights = Weights::from([("w".to_owned(), host)]);
        let placed = Placed::new(&weights, &device);
        let (one, two) = (Lifted::trainable_at(&placed), Lifted::trainable_at(&placed));
        assert_eq!(gradients(&one, 1.0), gradients(&Lifted::trainable(&weights, &device), 1.0));
        assert_eq!(gradients(&two, 3.0), [3.0, -12.0, 42.0]);
        let frozen = Lifted::frozen_at(&placed);
        assert_eq!(host_values(frozen.get::<1>("w")), weights["w"].values);
        assert_eq!(placed.tensors.lock().unwrap().len(), 1);
    }
}
