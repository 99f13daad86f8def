//! `Stream`: one sequence, read step by step.

use std::fmt;
use std::sync::Arc;

use super::layer::{StatePlaces, StepInputs};
use super::number::Number;
use super::readout::Readout;
use super::Network;
use crate::workspace::Buffer;

/// One sequence, read by a network step by step as its inputs arrive. A step allocates nothing.
///
/// ```
/// use std::sync::Arc;
/// use candle_rnn_kernels::{CellKind, Isa, LayerShape, Network, Stream, WeightSlices};
///
/// let (w_ih, w_hh, b) = ([0.1f32; 6], [0.2f32; 4], [0f32; 2]);
/// let network = Network::new(Isa::chosen()?)
///     .layer(LayerShape::new(CellKind::Tanh, 3, 2), &[WeightSlices::new(&w_ih, &w_hh, &b, 2)])
///     .head(&[1., 1.], &[0.5]);
/// let network = Arc::new(network);
/// let mut stream = Stream::new(network.clone()).map_err(|_| "bidirectional")?;
/// stream.step(&[1., 2., 3.]);
/// let remembered = stream.clone();
/// let logits = stream.step(&[0.; 3])[0];
/// assert_eq!(network.run(&[1., 2., 3., 0., 0., 0.], [1, 2], None), [logits]);
/// assert_eq!(remembered.state(), [0.6f32.tanh(); 2]);
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone)]
pub struct Stream<E> {
    network: Arc<Network<E>>,
    /// Two times the states: h of all layers, then c of all layers.
    states: Buffer<E>,
    /// Whether the states are the second of the two.
    is_second: bool,
    scratch: Buffer<E>,
    outputs: Buffer<E>,
}

/// Why a network cannot be read step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStreamable {
    /// It has no layer.
    Empty,
    /// A layer runs backwards in time as well.
    Bidirectional,
    /// The head reads more than the last output.
    Readout,
}

impl fmt::Display for NotStreamable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the network has no layer",
            Self::Bidirectional => {
                "a bidirectional network cannot be read step by step: give it whole sequences"
            }
            Self::Readout => {
                "a head that reads more than the last output cannot be read step by step: give the network \
                 whole sequences"
            }
        })
    }
}

impl std::error::Error for NotStreamable {}

fn filled<E: Number>(len: usize) -> Buffer<E> {
    let mut buffer = Buffer::new(len);
    buffer.fill(E::ZERO);
    buffer
}

impl<E: Number> Stream<E> {
    /// A stream in the zero state. All memory that it needs is allocated here.
    ///
    /// # Errors
    /// [`NotStreamable`] for a bidirectional network, and one whose head reads more than the last output.
    pub fn new(network: Arc<Network<E>>) -> Result<Self, NotStreamable> {
        if network.layers.is_empty() {
            return Err(NotStreamable::Empty);
        }
        if network.layers.iter().any(|layer| layer.directions() > 1) {
            return Err(NotStreamable::Bidirectional);
        }
        if network.readout != Readout::Last {
            return Err(NotStreamable::Readout);
        }
        let state_len: usize = network.layers.iter().flat_map(|layer| layer.state_len()).sum();
        let scratch = network.layers.iter().map(|layer| layer.scratch_len()).max().unwrap_or(0);
        let outputs = network.output_size();
        Ok(Self {
            network,
            states: filled(2 * state_len),
            is_second: false,
            scratch: filled(scratch),
            outputs: filled(outputs),
        })
    }

    /// The network.
    pub fn network(&self) -> &Arc<Network<E>> {
        &self.network
    }

    /// Takes one step and returns the head's outputs.
    ///
    /// - `x_t`: `(I,)`
    /// - returns `(O,)`
    ///
    /// # Panics
    /// When there are not I inputs.
    pub fn step(&mut self, x_t: &[E]) -> &[E] {
        assert_eq!(x_t.len(), self.network.input_size(), "inputs of a step");
        self.read(x_t)
    }

    /// Takes a step whose input is a row of the embedding.
    ///
    /// # Panics
    /// When there is no row of this number.
    pub fn step_id(&mut self, id: usize) -> &[E] {
        self.advance_id(id);
        self.head()
    }

    /// Takes a step whose input is a row of the embedding, and leaves the head out.
    ///
    /// # Panics
    /// As [`step_id`](Self::step_id).
    pub fn advance_id(&mut self, id: usize) {
        let Self { network, states, is_second, scratch, .. } = self;
        advance(network, network.embedded(id), states, is_second, scratch);
    }

    /// Takes any number of steps, and returns the head's outputs after the last.
    ///
    /// - `x`: `(T, I)`, T at least 1
    /// - returns `(O,)`
    ///
    /// # Panics
    /// When there are not I inputs for each step.
    pub fn read(&mut self, x: &[E]) -> &[E] {
        self.advance(x);
        self.head()
    }

    /// Takes any number of steps, and leaves the head out.
    ///
    /// - `x`: `(T, I)`, T at least 1
    ///
    /// # Panics
    /// As [`read`](Self::read).
    pub fn advance(&mut self, x: &[E]) {
        let Self { network, states, is_second, scratch, .. } = self;
        advance(network, x, states, is_second, scratch);
    }

    /// The head's outputs in the present state, `(O,)`.
    pub fn head(&mut self) -> &[E] {
        let Self { network, states, is_second, outputs, .. } = self;
        let h = hidden(network, states, *is_second);
        match &network.head {
            Some(head) => head.dense(h, outputs),
            None => outputs.copy_from_slice(h),
        }
        outputs
    }

    /// The head's outputs after the last step that computed them, `(O,)`.
    pub fn outputs(&self) -> &[E] {
        &self.outputs
    }

    /// The last layer's state h, `(P,)`.
    pub fn hidden(&self) -> &[E] {
        hidden(&self.network, &self.states, self.is_second)
    }

    /// The states: h of all layers, then c of all layers that have it.
    pub fn state(&self) -> &[E] {
        let len = self.states.len() / 2;
        &self.states[len * usize::from(self.is_second)..][..len]
    }

    /// Puts the states to what [`state`](Self::state) gave.
    ///
    /// # Panics
    /// When there are not as many elements.
    pub fn set_state(&mut self, state: &[E]) {
        let len = self.states.len() / 2;
        self.states[len * usize::from(self.is_second)..][..len].copy_from_slice(state);
    }

    /// Puts the states to zero.
    pub fn reset(&mut self) {
        self.states.fill(E::ZERO);
    }
}

/// Any number of steps of all layers.
fn advance<E: Number>(
    network: &Network<E>,
    x: &[E],
    states: &mut [E],
    is_second: &mut bool,
    scratch: &mut [E],
) {
    let len = states.len() / 2;
    if let [layer] = &network.layers[..] {
        let [h, _] = layer.state_len();
        let places = StatePlaces { at: [0, h], len, reads_second: *is_second };
        layer.steps(StepInputs::Given(x), states, places, scratch);
        *is_second ^= !(x.len() / layer.shape.input_size).is_multiple_of(2);
        return;
    }
    let width = network.input_size();
    assert!(!x.is_empty() && x.len().is_multiple_of(width), "inputs of the steps");
    let h_len: usize = network.layers.iter().map(|layer| layer.state_len()[0]).sum();
    for x_t in x.chunks_exact(width) {
        let mut inputs = StepInputs::Given(x_t);
        let mut at = [0, h_len];
        for layer in &network.layers {
            layer.steps(inputs, states, StatePlaces { at, len, reads_second: *is_second }, scratch);
            // The next layer reads what this one has just written.
            inputs = StepInputs::Below(at[0] + if *is_second { 0 } else { len });
            let [h, c] = layer.state_len();
            at = [at[0] + h, at[1] + c];
        }
        *is_second = !*is_second;
    }
}

fn hidden<'a, E: Number>(network: &Network<E>, states: &'a [E], is_second: bool) -> &'a [E] {
    let mut at = states.len() / 2 * usize::from(is_second);
    let mut len = 0;
    for layer in &network.layers {
        at += len;
        len = layer.state_len()[0];
    }
    &states[at..at + len]
}

impl<E: Number> fmt::Debug for Stream<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("state", &self.state()).finish_non_exhaustive()
    }
}
