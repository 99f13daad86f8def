//! Whole networks for inference: an embedding, recurrent layers and a dense head with packed weights.
//!
//! [`Network`] predicts of batches of sequences; [`Stream`] reads one sequence step by step and allocates
//! nothing on the way.
//!
//! - `number`: floats that come from `f64`
//! - `layer`: a layer with packed weights
//! - `readout`: what a head reads of the outputs
//! - `stream`: one sequence, step by step
//! - `tracer`: one sequence, looked at: outputs and states after each step, gradients of the inputs

mod layer;
mod number;
mod readout;
mod stream;
mod tracer;

use std::borrow::Cow;

pub use layer::LayerShape;
pub use number::Number;
pub use readout::Readout;
pub use stream::{NotStreamable, Stream};
pub use tracer::{Answer, NetworkTrace, Tracer};

use crate::kernels::CellKind;
use crate::weights::WeightSlices;
use crate::Isa;
use layer::Layer;

/// Recurrent layers with what stands before and behind them, for inference: weights are packed once, in memory
/// that is aligned to 64 bytes.
///
/// ```
/// use candle_rnn_kernels::{CellKind, Isa, LayerShape, Network, WeightSlices};
///
/// // Two tanh units that read three inputs, and one number read off them.
/// let (w_ih, w_hh, b) = ([0.1f32; 6], [0.2f32; 4], [0f32; 2]);
/// let network = Network::new(Isa::chosen()?)
///     .layer(LayerShape::new(CellKind::Tanh, 3, 2), &[WeightSlices::new(&w_ih, &w_hh, &b, 2)])
///     .head(&[1., -1.], &[0.5]);
/// assert_eq!(network.run(&[1.; 2 * 4 * 3], [2, 4], None), [0.5; 2]);
/// # Ok::<(), &str>(())
/// ```
pub struct Network<E> {
    isa: Isa,
    /// `(V, I)`.
    embedding: Vec<E>,
    layers: Vec<Layer<E>>,
    readout: Readout,
    head: Option<Layer<E>>,
}

impl<E: Number> Network<E> {
    /// A network without layers, for an instruction set.
    pub fn new(isa: Isa) -> Self {
        Self { isa, embedding: Vec::new(), layers: Vec::new(), readout: Readout::Last, head: None }
    }

    /// Adds an embedding, `(V, I)`: inputs are then the numbers of its rows.
    ///
    /// # Panics
    /// When it is empty.
    pub fn embedding(mut self, table: &[E]) -> Self {
        assert!(!table.is_empty(), "an embedding has at least one row");
        self.embedding = table.to_vec();
        self
    }

    /// Adds a recurrent layer on top of those that are there.
    ///
    /// - `directions`: the weights of the forward direction, and of the backward one if the layer has both
    ///
    /// # Panics
    /// When a slice's length does not fit, and when the layer does not read what the one below it gives.
    pub fn layer(mut self, shape: LayerShape, directions: &[WeightSlices<E>]) -> Self {
        assert_ne!(shape.cell, CellKind::Dense, "a recurrent layer has a state");
        if let Some(below) = self.layers.last() {
            assert_eq!(shape.input_size, below.output_features(), "inputs of {shape:?}");
        } else {
            assert!(self.embedding.len().is_multiple_of(shape.input_size.max(1)));
        }
        self.layers.push(Layer::new(self.isa, shape, directions));
        self
    }

    /// Sets what the head reads of the outputs; the last of them unless this is called.
    ///
    /// # Panics
    /// When the network has a head already.
    pub fn readout(mut self, readout: Readout) -> Self {
        assert!(self.head.is_none(), "the readout comes before the head");
        self.readout = readout;
        self
    }

    /// Adds the head: `y = W f + b`, where `f` is what the readout gives.
    ///
    /// - `weight`: `(O, F)`; `bias`: `(O,)`
    ///
    /// # Panics
    /// When a slice's length does not fit.
    pub fn head(mut self, weight: &[E], bias: &[E]) -> Self {
        let features = self.readout.features(self.output_features());
        let shape = LayerShape::new(CellKind::Dense, features, bias.len());
        let weights = WeightSlices::new(weight, &[], bias, bias.len());
        self.head = Some(Layer::new(self.isa, shape, &[weights]));
        self
    }

    /// The number of features that the first layer reads, I.
    ///
    /// # Panics
    /// When there is no layer.
    pub fn input_size(&self) -> usize {
        self.layers[0].shape.input_size
    }

    /// The number of rows of the embedding, V; 0 if there is none.
    pub fn vocabulary_size(&self) -> usize {
        self.embedding.len() / self.input_size()
    }

    /// The number of outputs of the head, O; without one, the features that the readout gives.
    pub fn output_size(&self) -> usize {
        match &self.head {
            Some(head) => head.shape.output_size,
            None => self.readout.features(self.output_features()),
        }
    }

    /// The number of features of an output of the last layer, D·P.
    fn output_features(&self) -> usize {
        self.layers.last().map_or(0, Layer::output_features)
    }

    /// The head's outputs of each sequence, read from zero states.
    ///
    /// - `x`: `(B, T, I)`
    /// - `sizes`: B and T
    /// - `lengths`: the steps of each row, at most T, if they differ
    /// - returns `(B, O)`
    ///
    /// # Panics
    /// When a slice's length does not fit, and when the head reads all outputs of another number of steps.
    pub fn run(&self, x: &[E], sizes: [usize; 2], lengths: Option<&[usize]>) -> Vec<E> {
        let [batch_size, seq_len] = sizes;
        if batch_size == 0 {
            return Vec::new();
        }
        let (x, top) = self.below_top(x, sizes, lengths);
        let output = top.run(&x, sizes, lengths, self.readout != Readout::Last);
        let features = top.output_features();
        let read = match (self.readout, output.outputs) {
            (Readout::MeanMax, Some(outputs)) => {
                readout::mean_max(&outputs, [batch_size, seq_len, features], lengths)
            }
            (Readout::All { seq_len: expected }, Some(outputs)) => {
                assert_eq!(seq_len, expected, "the head reads all outputs");
                outputs
            }
            (_, outputs) => {
                let sizes = [top.directions(), top.shape.output_size];
                readout::last_rows(&crate::ForwardOutput { outputs, ..output }, batch_size, sizes)
            }
        };
        self.through_head(read, batch_size)
    }

    /// The head's outputs after every step of each sequence, read from zero states; the head reads the output of
    /// the step.
    ///
    /// - `x`, `sizes`, `lengths`: as in [`run`](Self::run)
    /// - returns `(B, T, O)`; what stands behind the end of a row means nothing
    ///
    /// # Panics
    /// As [`run`](Self::run), and unless the readout is [`Readout::Last`].
    pub fn run_steps(&self, x: &[E], sizes: [usize; 2], lengths: Option<&[usize]>) -> Vec<E> {
        assert_eq!(self.readout, Readout::Last, "a head reads each output by itself");
        if sizes[0] == 0 {
            return Vec::new();
        }
        let (x, top) = self.below_top(x, sizes, lengths);
        let outputs = top.run(&x, sizes, lengths, true).outputs.unwrap_or_default();
        self.through_head(outputs, sizes[0] * sizes[1])
    }

    /// The rows of the embedding with these numbers, `(N, I)`: what [`run`](Self::run) reads.
    ///
    /// # Panics
    /// When there is no row of such a number.
    pub fn embed(&self, ids: &[usize]) -> Vec<E> {
        ids.iter().flat_map(|id| self.embedded(*id)).copied().collect()
    }

    fn embedded(&self, id: usize) -> &[E] {
        let width = self.input_size();
        &self.embedding[id * width..][..width]
    }

    /// The inputs of the last layer, and the last layer.
    fn below_top<'a>(
        &self,
        x: &'a [E],
        sizes: [usize; 2],
        lengths: Option<&[usize]>,
    ) -> (Cow<'a, [E]>, &Layer<E>) {
        assert!(!self.layers.is_empty(), "a network has at least one layer");
        let top = self.layers.len() - 1;
        let mut x = Cow::Borrowed(x);
        for layer in &self.layers[..top] {
            x = Cow::Owned(layer.run(&x, sizes, lengths, true).outputs.unwrap_or_default());
        }
        (x, &self.layers[top])
    }

    fn through_head(&self, features: Vec<E>, rows: usize) -> Vec<E> {
        match &self.head {
            Some(head) => head.run(&features, [rows, 1], None, true).outputs.unwrap_or_default(),
            None => features,
        }
    }
}
