//! The methods of `Rnn`, `Gru` and `Lstm`, which are a `Stack` of one cell each.

/// The methods of a layer `$name(Stack)`, and `output_features` of its configuration.
macro_rules! named_stack {
    ($name:ident, $config:ident) => {
        impl $config {
            /// The number of features of an output, D·P: what the next layer or a head reads.
            pub fn output_features(&self) -> usize {
                $crate::nn::StackConfig::from(*self).output_features()
            }
        }

        impl $name {
            /// Takes the weights from `vb` under PyTorch's names: see [`Stack::new`].
            ///
            /// # Errors
            /// As [`Stack::new`].
            pub fn new(config: $config, vb: candle_nn::VarBuilder) -> $crate::Result<Self> {
                Ok(Self(Stack::new(config, vb)?))
            }

            /// Puts initial weights into a sink and builds on them: an optimizer that changes the variables
            /// changes this layer. `sink.pp("encoder")` gives the names a prefix.
            ///
            /// # Errors
            /// As [`Stack::init`].
            pub fn init(
                config: $config,
                init: $crate::nn::Init,
                rng: &mut $crate::rng::SeededRng,
                sink: &$crate::nn::VarSink,
            ) -> $crate::Result<Self> {
                Ok(Self(Stack::init(config, init, rng, sink)?))
            }

            /// The same weights as variables of their own in a sink, and a layer on them: to train on with
            /// weights from elsewhere.
            ///
            /// # Errors
            /// As [`Stack::to_vars`].
            pub fn to_vars(&self, sink: &$crate::nn::VarSink) -> $crate::Result<Self> {
                Ok(Self(self.0.to_vars(sink)?))
            }

            /// Runs over a batch of sequences.
            ///
            /// - `sequences`: `x`, `(B, T, I)`, or [`Sequences`](crate::nn::Sequences) with lengths, initial
            ///   states, truncation, dropout and so on
            /// - returns the outputs, `(B, T, D·P)`, and the final states
            ///
            /// # Errors
            /// As [`Stack::forward`].
            pub fn forward<'a>(
                &self,
                sequences: impl Into<$crate::nn::Sequences<'a>>,
            ) -> $crate::Result<$crate::nn::Output> {
                self.0.forward(sequences)
            }

            /// Runs over a batch of sequences and returns the last layer's final h alone, forward beside
            /// backward: `(B, D·P)`. It keeps no outputs of that layer.
            ///
            /// # Errors
            /// As [`Stack::forward`].
            pub fn last<'a>(
                &self,
                sequences: impl Into<$crate::nn::Sequences<'a>>,
            ) -> $crate::Result<candle_core::Tensor> {
                self.0.last(sequences)
            }

            /// Makes one step of all layers, which run forward in time: see [`Stack::step`].
            ///
            /// - `x_t`: `(B, I)`
            /// - `state`: before the step; zeros if `None`
            /// - returns the last layer's output, `(B, P)`, and the states after the step
            ///
            /// # Errors
            /// As [`Stack::step`].
            pub fn step(
                &self,
                x_t: &candle_core::Tensor,
                state: Option<&$crate::recurrence::State>,
            ) -> $crate::Result<(candle_core::Tensor, $crate::recurrence::State)> {
                self.0.step(x_t, state)
            }

            /// The cell of a layer, from 0, in the forward direction; it shares the weights.
            ///
            /// # Panics
            /// When there is no such layer.
            pub fn cell(&self, layer: usize) -> $crate::nn::RecurrentCell {
                self.0.cell(layer)
            }

            /// The same layers for inference: they share the weights, and follow them when they change, but
            /// keep no graph for a backward pass.
            pub fn detach(&self) -> Self {
                Self(self.0.detach())
            }

            /// The layers as they are now, for inference: they have weights of their own, which are packed
            /// once.
            ///
            /// # Errors
            /// [`Error::Candle`](crate::Error::Candle) when the weights cannot be copied.
            pub fn freeze(&self) -> $crate::Result<Self> {
                Ok(Self(self.0.freeze()?))
            }

            /// The sizes and the cell.
            pub fn config(&self) -> &StackConfig {
                self.0.config()
            }

            /// The number of features of an output, D·P: what the next layer or a head reads.
            pub fn output_features(&self) -> usize {
                self.0.output_features()
            }

            /// The weights of a layer, from 0: forward, and backward if it runs in both directions.
            ///
            /// # Panics
            /// When there is no such layer.
            pub fn weights(&self, layer: usize) -> &[$crate::recurrence::Weights] {
                self.0.weights(layer)
            }

            /// Where the weights are.
            pub fn device(&self) -> &candle_core::Device {
                self.0.device()
            }

            /// The float type of the weights.
            pub fn dtype(&self) -> candle_core::DType {
                self.0.dtype()
            }
        }

        /// The outputs, `(B, T, D·P)`, of sequences `(B, T, I)` that are read from zeros.
        impl candle_core::Module for $name {
            fn forward(&self, x: &candle_core::Tensor) -> candle_core::Result<candle_core::Tensor> {
                candle_core::Module::forward(&self.0, x)
            }
        }

        impl AsRef<Stack> for $name {
            fn as_ref(&self) -> &Stack {
                &self.0
            }
        }

        impl From<$name> for Stack {
            fn from(layer: $name) -> Self {
                layer.0
            }
        }
    };
}
pub(super) use named_stack;
