"""Keras 3 on TensorFlow: keras.layers.SimpleRNN, keras.layers.Dense, model.fit; and, as layers,
keras.layers.GRU and keras.layers.LSTM.

What its user can choose was tried in the reference job, and the fastest stays: batches gathered by
tf.data (faster than a PyDataset or arrays), and graphs without XLA (`jit_compile=False`).
"""

import os

import numpy

import common


class Keras:
    name = "keras"

    def __init__(self, threads):
        os.environ["KERAS_BACKEND"] = "tensorflow"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
        import keras

        keras.utils.set_random_seed(common.SEED)
        self.tensorflow, self.keras = tensorflow, keras
        self.version = f"{keras.__version__}, tensorflow {tensorflow.__version__}"

    def reference_job(self, x, y):
        keras, tensorflow = self.keras, self.tensorflow
        unroll = os.environ.get("PEERS_UNROLL") == "1"
        model = keras.Sequential(
            [
                keras.Input((common.STEPS, common.INPUTS)),
                keras.layers.SimpleRNN(common.UNITS, unroll=unroll),
                keras.layers.Dense(common.CLASSES),
            ]
        )
        model.compile(
            optimizer=keras.optimizers.Adam(common.LEARNING_RATE),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
        images, labels = tensorflow.constant(x), tensorflow.constant(y)

        def gather(batch):
            return tensorflow.gather(images, batch), tensorflow.gather(labels, batch)

        def train(batches):
            indices, sizes = numpy.concatenate(batches), [len(batch) for batch in batches]
            ragged = tensorflow.RaggedTensor.from_row_lengths(indices, sizes)
            dataset = tensorflow.data.Dataset.from_tensor_slices(ragged).map(gather).prefetch(2)
            return model.fit(dataset, verbose=0).history["loss"][0]

        def loss(batch):
            return model.evaluate(*gather(batch), batch_size=len(batch), verbose=0)

        return train, loss

    def layer(self, cell, x, w_ih, w_hh, b, grad_h):
        tensorflow, layers = self.tensorflow, self.keras.layers
        x, grad_h = tensorflow.constant(x), tensorflow.constant(grad_h)
        kind = {"tanh": layers.SimpleRNN, "gru": layers.GRU, "lstm": layers.LSTM}[cell]
        biases = numpy.stack([b, numpy.zeros_like(b)]) if cell == "gru" else b
        weights, units = [w_ih.T, w_hh.T, biases], w_hh.shape[1]

        def variant(unroll, jit_compile):
            rnn = kind(units, unroll=unroll)
            rnn.build(x.shape)
            rnn.set_weights(weights)

            @tensorflow.function(jit_compile=jit_compile)
            def forward():
                return rnn(x)

            @tensorflow.function(jit_compile=jit_compile)
            def forward_backward():
                with tensorflow.GradientTape() as tape:
                    loss = tensorflow.reduce_sum(rnn(x) * grad_h)
                return tape.gradient(loss, rnn.trainable_weights)

            # On the CPU both return when everything is computed.
            return forward, forward_backward

        variants = {"loop": variant(False, False), "loop, XLA": variant(False, True)}
        # Longer ones take minutes to trace and compile, and are slower where that was awaited.
        if x.shape[1] <= 128:
            variants["unrolled"] = variant(True, False)
        if x.shape[1] <= 28:
            variants["unrolled, XLA"] = variant(True, True)
        return variants


if __name__ == "__main__":
    common.main(Keras)
