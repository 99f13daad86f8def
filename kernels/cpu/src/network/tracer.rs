//! `Tracer`: what a network gives and holds after each step of a sequence, and which steps the end depends on.

use super::number::Number;
use super::readout::{mean_max, Readout};
use crate::kernels::Kernels;
use crate::schedule::{backward, forward, BackwardCall, ForwardOutput, RawCall, Save, Wanted};
use crate::weights::{pack_transposed, pack_weights, TransposedWeights, WeightSlices};
use crate::workspace::Buffer;
use crate::{SequenceDims, Window};

/// The outputs and states of a network after each of the T steps of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkTrace<E> {
    /// The head's outputs after each step, `(T, O)`. A network that reads in both directions, or more than the last
    /// output, reads each beginning of the sequence by itself.
    pub outputs: Vec<E>,
    /// The last layer's output after each step, `(T, P)`, of a network that reads forward in time with the last-state
    /// readout; empty for others.
    pub hidden: Vec<E>,
    /// The saliency of each step, `(T,)`: the L2 norm of the gradient of the answer with respect to the step's inputs.
    pub saliency: Vec<f64>,
}

/// The number whose gradient the saliency is made of, of the outputs after the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The largest output: the logit of the class that is predicted.
    Largest,
    /// The sum of all outputs.
    Sum,
}

/// A direction of a layer: its weights packed for the forward pass, and for the backward pass.
struct Direction<E> {
    packed: Buffer<E>,
    transposed: TransposedWeights<E>,
}

/// A layer of H units that reads I features.
struct TracedLayer<E> {
    input_size: usize,
    hidden_size: usize,
    directions: Vec<Direction<E>>,
}

/// Recurrent layers of one cell and a head, to look at how they read one sequence.
///
/// ```
/// use candle_rnn_kernels::{Answer, CellKind, Float, Isa, Readout, Tracer, WeightSlices};
///
/// // Two tanh units that read three inputs, and one number read off them.
/// let (w_ih, w_hh, b) = ([0.1f32; 6], [0.2f32; 4], [0f32; 2]);
/// let tracer = Tracer::new(f32::kernels(Isa::chosen()?, CellKind::Tanh), Readout::Last)
///     .layer([3, 2], &[WeightSlices::new(&w_ih, &w_hh, &b, 2)])
///     .head(&[1., 1.], &[0.5]);
/// let trace = tracer.trace(&[1.; 4 * 3], Answer::Sum);
/// assert_eq!((trace.outputs.len(), trace.hidden.len(), trace.saliency.len()), (4, 8, 4));
/// // The last step is read last.
/// assert!(trace.saliency[3] > trace.saliency[0]);
/// assert_eq!(tracer.last(&[1.; 4 * 3]), trace.outputs[3..]);
/// # Ok::<(), &str>(())
/// ```
pub struct Tracer<E> {
    kernels: Kernels<E>,
    readout: Readout,
    reads_each_output: bool,
    layers: Vec<TracedLayer<E>>,
    /// `(O, F)` and `(O,)`.
    head: (Vec<E>, Vec<E>),
}

impl<E: Number> Tracer<E> {
    /// A network without layers.
    ///
    /// - `kernels`: of a recurrent cell without a projection
    /// - `readout`: what the head reads of the last layer's outputs
    pub fn new(kernels: Kernels<E>, readout: Readout) -> Self {
        let (layers, head) = (Vec::new(), (Vec::new(), Vec::new()));
        Self { kernels, readout, reads_each_output: false, layers, head }
    }

    /// Has the head read the outputs of one step at a time: with both directions, those of the last step in place of
    /// the final states.
    pub fn reading_each_output(mut self) -> Self {
        self.reads_each_output = true;
        self
    }

    /// Adds a recurrent layer on top of those that are there.
    ///
    /// - `sizes`: I and H
    /// - `directions`: the weights of the forward direction, and of the backward one if the layer has both
    ///
    /// # Panics
    /// When a slice's length does not fit.
    pub fn layer(mut self, sizes: [usize; 2], directions: &[WeightSlices<E>]) -> Self {
        let [input_size, hidden_size] = sizes;
        let dims = layer_dims(sizes, 1);
        let directions = directions.iter().map(|weights| Direction {
            packed: pack_weights(&self.kernels, &dims, *weights),
            transposed: pack_transposed(&self.kernels, &dims, *weights),
        });
        let directions = directions.collect();
        self.layers.push(TracedLayer { input_size, hidden_size, directions });
        self
    }

    /// Sets the head: `y = W f + b`, where `f` is what the readout gives.
    ///
    /// - `weight`: `(O, F)`; `bias`: `(O,)`
    pub fn head(mut self, weight: &[E], bias: &[E]) -> Self {
        self.head = (weight.to_vec(), bias.to_vec());
        self
    }

    /// Whether the network reads each step once, and has a state after each.
    pub fn has_hidden(&self) -> bool {
        self.readout == Readout::Last && self.layers.iter().all(|layer| layer.directions.len() == 1)
    }

    /// Reads a sequence.
    ///
    /// - `x`: `(T, I)`, T at least 1
    ///
    /// # Panics
    /// When there is no layer, when the length of `x` or of the head's weights does not fit, and for more steps than
    /// [`Readout::All`] has.
    pub fn trace(&self, x: &[E], answer: Answer) -> NetworkTrace<E> {
        let (input_size, steps) = (self.layers[0].input_size, self.steps_of(x));
        let passes = self.forward(x, Save::All);
        let top = top_of(&passes);
        let width = top.len() / steps;
        let (mut outputs, mut hidden) = (Vec::new(), Vec::new());
        if self.has_hidden() {
            top.chunks_exact(width).for_each(|h| outputs.extend(self.through_head(h)));
            hidden.extend_from_slice(top);
        } else {
            for end in 1..steps {
                outputs.extend(self.last(&x[..end * input_size]));
            }
            outputs.extend(self.through_head(&self.read(top, width)));
        }
        let last = &outputs[outputs.len() - self.head.1.len()..];
        let of_features = self.head_gradient(last, answer);
        let mut gradient = self.read_gradient(&of_features, top, width);
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let x = if index == 0 { x } else { top_of(&passes[..index]) };
            gradient = layer.backward(&self.kernels, x, &passes[index], &gradient);
        }
        let saliency = gradient
            .chunks_exact(input_size)
            .map(|of_step| of_step.iter().map(|g| g.to_f64() * g.to_f64()).sum::<f64>().sqrt());
        NetworkTrace { saliency: saliency.collect(), outputs, hidden }
    }

    /// The head's outputs after the last step of a sequence, `(O,)`.
    ///
    /// - `x`: `(T, I)`, T at least 1
    ///
    /// # Panics
    /// As [`trace`](Self::trace).
    pub fn last(&self, x: &[E]) -> Vec<E> {
        let steps = self.steps_of(x);
        let passes = self.forward(x, Save::None);
        let top = top_of(&passes);
        self.through_head(&self.read(top, top.len() / steps))
    }

    /// T.
    fn steps_of(&self, x: &[E]) -> usize {
        let input_size = self.layers[0].input_size;
        let steps = x.len() / input_size;
        assert!(steps > 0 && steps * input_size == x.len(), "inputs of the steps");
        steps
    }

    fn forward(&self, x: &[E], save: Save) -> Vec<ForwardOutput<E>> {
        let mut passes: Vec<ForwardOutput<E>> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let x = if passes.is_empty() { x } else { top_of(&passes) };
            passes.push(layer.forward(&self.kernels, x, save));
        }
        passes
    }

    /// The features that the head reads of outputs `(T, D·P)`, each of `width` numbers: `(F,)`.
    fn read(&self, outputs: &[E], width: usize) -> Vec<E> {
        match self.readout {
            Readout::Last => {
                let mut last = outputs[outputs.len() - width..].to_vec();
                let backward = self.first_of_backward(width);
                last[backward..].copy_from_slice(&outputs[backward..width]);
                last
            }
            Readout::MeanMax => mean_max(outputs, [1, outputs.len() / width, width], None),
            Readout::All { seq_len } => {
                let mut all = outputs.to_vec();
                all.resize(seq_len * width, E::ZERO);
                all
            }
        }
    }

    /// Where the final states of the backward direction begin, which are its outputs of the first step.
    fn first_of_backward(&self, width: usize) -> usize {
        let directions = self.layers[self.layers.len() - 1].directions.len();
        if self.reads_each_output || directions == 1 {
            width
        } else {
            width / 2
        }
    }

    /// The gradient of the outputs, `(T, D·P)`, of the gradient `(F,)` of what the head reads of them.
    fn read_gradient(&self, of_features: &[E], outputs: &[E], width: usize) -> Vec<E> {
        let mut gradient = vec![E::ZERO; outputs.len()];
        let steps = outputs.len() / width;
        match self.readout {
            Readout::Last => {
                let backward = self.first_of_backward(width);
                gradient[(steps - 1) * width..][..backward]
                    .copy_from_slice(&of_features[..backward]);
                gradient[backward..width].copy_from_slice(&of_features[backward..]);
            }
            Readout::MeanMax => {
                let scale = E::from_f64(1. / steps as f64);
                for column in 0..width {
                    let of_mean = of_features[column] * scale;
                    let mut largest = column;
                    for at in (column..outputs.len()).step_by(width) {
                        gradient[at] = gradient[at] + of_mean;
                        if outputs[at] > outputs[largest] {
                            largest = at;
                        }
                    }
                    gradient[largest] = gradient[largest] + of_features[width + column];
                }
            }
            Readout::All { .. } => gradient.copy_from_slice(&of_features[..outputs.len()]),
        }
        gradient
    }

    fn through_head(&self, features: &[E]) -> Vec<E> {
        let (weight, bias) = &self.head;
        assert_eq!(weight.len(), features.len() * bias.len(), "weights of the head");
        let rows = weight.chunks_exact(features.len()).zip(bias);
        let output = |(row, bias): (&[E], &E)| {
            row.iter().zip(features).fold(*bias, |sum, (w, f)| sum + *w * *f)
        };
        rows.map(output).collect()
    }

    /// The gradient of what the head reads, `(F,)`.
    fn head_gradient(&self, outputs: &[E], answer: Answer) -> Vec<E> {
        let (weight, bias) = &self.head;
        let rows = weight.chunks_exact(weight.len() / bias.len());
        match answer {
            Answer::Largest => {
                let largest =
                    (1..outputs.len())
                        .fold(0, |best, at| if outputs[at] > outputs[best] { at } else { best });
                rows.skip(largest).take(1).flatten().copied().collect()
            }
            Answer::Sum => rows.fold(vec![E::ZERO; weight.len() / bias.len()], |mut sums, row| {
                sums.iter_mut().zip(row).for_each(|(sum, w)| *sum = *sum + *w);
                sums
            }),
        }
    }
}

fn layer_dims([input_size, hidden_size]: [usize; 2], seq_len: usize) -> SequenceDims {
    SequenceDims { batch_size: 1, seq_len, input_size, hidden_size, output_size: hidden_size }
}

/// The outputs of the last of some layers.
fn top_of<E>(passes: &[ForwardOutput<E>]) -> &[E] {
    passes.last().and_then(|pass| pass.outputs.as_deref()).unwrap_or(&[])
}

impl<E: Number> TracedLayer<E> {
    fn call<'a>(&self, x: &'a [E], weights: &'a [&'a [E]]) -> RawCall<'a, E> {
        let dims = layer_dims([self.input_size, self.hidden_size], x.len() / self.input_size);
        RawCall::new(dims, x, weights)
    }

    fn packed(&self) -> Vec<&[E]> {
        self.directions.iter().map(|direction| &direction.packed[..]).collect()
    }

    fn forward(&self, kernels: &Kernels<E>, x: &[E], save: Save) -> ForwardOutput<E> {
        forward(kernels, self.call(x, &self.packed()), true, save)
    }

    /// The gradient of the inputs, of that of the outputs.
    fn backward(
        &self,
        kernels: &Kernels<E>,
        x: &[E],
        pass: &ForwardOutput<E>,
        gradient: &[E],
    ) -> Vec<E> {
        let weights = self.packed();
        let input = self.call(x, &weights);
        let fed: Vec<_> = self.directions.iter().map(|direction| &direction.transposed).collect();
        let call = BackwardCall {
            input,
            outputs: pass.outputs.as_deref(),
            saved: &pass.saved,
            windows: &[Window { start: 0, losses_from: 0, end: input.dims.seq_len }],
            fed: &fed,
            grad_outputs: Some(gradient),
            grad_last: None,
        };
        let wanted = Wanted { weights: false, x: true, initial: false };
        backward(kernels, call, wanted).x.unwrap_or_default()
    }
}
