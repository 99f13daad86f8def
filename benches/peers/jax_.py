"""JAX: lax.scan over the steps, optax.adam, everything jitted; cells as in PyTorch's equations."""

import numpy

import common


class Jax:
    name = "jax"

    def __init__(self, threads):
        # XLA takes a thread for each core that the process may use: `common` has limited those.
        import jax
        import optax

        self.jax, self.optax = jax, optax
        self.version = f"{jax.__version__}, optax {optax.__version__}"

    def last_state(self, x, w_ih, w_hh, b, *b_hh, cell="tanh", apart=False, ahead=False, unroll=1):
        """Returns h_T, (B, H).

        x: (B, T, I), w_ih: (I, G*H), w_hh: (H, G*H), b and a GRU's b_hh: (G*H,).

        `apart`: a product a gate, instead of one for all gates of a step.
        `ahead`: the inputs of all steps are projected before the scan, in one product.
        """
        jnp, sigmoid, gates = self.jax.numpy, self.jax.nn.sigmoid, common.GATES[cell]

        def split(of_all):
            return jnp.split(of_all, gates, axis=-1)

        # A gate an entry. The bias comes before the split, which makes backward faster.
        def project(values, w, b):
            if apart:
                return [values @ w_gate + b_gate for w_gate, b_gate in zip(split(w), split(b))]
            return split(values @ w + b)

        b_h = b_hh[0] if b_hh else jnp.zeros_like(b)

        # From the state and a step's projected inputs, z, to the next state.
        def tanh(h, z):
            return jnp.tanh(z[0] + h @ w_hh)

        def gru(h, z):
            z_r, z_u, z_n = z
            a_r, a_u, a_n = project(h, w_hh, b_h)
            r, u = sigmoid(z_r + a_r), sigmoid(z_u + a_u)
            return (1 - u) * jnp.tanh(z_n + r * a_n) + u * h

        def lstm(state, z):
            h, c = state
            i, f, g, o = map(jnp.add, z, project(h, w_hh, b_h))
            c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
            return sigmoid(o) * jnp.tanh(c), c

        next_state = {"tanh": tanh, "gru": gru, "lstm": lstm}[cell]

        def step(state, x_t):
            return next_state(state, split(x_t) if ahead else project(x_t, w_ih, b)), None

        h_0 = jnp.zeros((x.shape[0], w_hh.shape[0]), x.dtype)
        steps = (x @ w_ih + b if ahead else x).swapaxes(0, 1)
        state_0 = (h_0, h_0) if cell == "lstm" else h_0
        state = self.jax.lax.scan(step, state_0, steps, unroll=unroll)[0]
        return state[0] if cell == "lstm" else state

    def reference_job(self, x, y):
        jax, optax = self.jax, self.optax
        glorot, zeros = jax.nn.initializers.glorot_uniform(), jax.numpy.zeros
        keys = jax.random.split(jax.random.key(common.SEED), 2)
        kernel = glorot(keys[0], (common.INPUTS + common.UNITS, common.UNITS))
        parameters = {
            "w_ih": kernel[: common.INPUTS],
            "w_hh": kernel[common.INPUTS :],
            "b": zeros(common.UNITS),
            "head_w": glorot(keys[1], (common.UNITS, common.CLASSES)),
            "head_b": zeros(common.CLASSES),
        }
        adam = optax.adam(common.LEARNING_RATE)
        state = (parameters, adam.init(parameters))
        x, y = jax.device_put(x), jax.device_put(y)

        def loss_of(p, batch):
            h = self.last_state(x[batch], p["w_ih"], p["w_hh"], p["b"])
            logits = h @ p["head_w"] + p["head_b"]
            return optax.softmax_cross_entropy_with_integer_labels(logits, y[batch]).mean()

        @jax.jit
        def step(state, batch):
            parameters, moments = state
            loss, grads = jax.value_and_grad(loss_of)(parameters, batch)
            updates, moments = adam.update(grads, moments, parameters)
            return (optax.apply_updates(parameters, updates), moments), loss

        def train(batches):
            nonlocal state
            losses = []
            for batch in batches:
                state, loss = step(state, batch)
                losses.append(loss)
            jax.block_until_ready(state)
            return sum(map(float, losses)) / len(losses)

        return train, lambda batch: jax.jit(loss_of)(state[0], batch)

    def layer(self, cell, x, w_ih, w_hh, b, grad_h):
        jax = self.jax
        x, grad_h = jax.device_put(x), jax.device_put(grad_h)
        b_hh = (numpy.zeros_like(b),) if cell == "gru" else ()
        weights = jax.device_put((w_ih.T.copy(), w_hh.T.copy(), b, *b_hh))

        def variant(**how):
            how["cell"] = cell

            def loss(weights, x):
                return (self.last_state(x, *weights, **how) * grad_h).sum()

            forward = jax.jit(lambda weights, x: self.last_state(x, *weights, **how))
            grads = jax.jit(jax.grad(loss))
            return (
                lambda: jax.block_until_ready(forward(weights, x)),
                lambda: jax.block_until_ready(grads(weights, x)),
            )

        variants = {
            "scan": variant(),
            "scan, 4 steps unrolled": variant(unroll=4),
            "scan, inputs projected ahead": variant(ahead=True),
        }
        # What these win: half of forward's time for a GRU or an LSTM with one input, but not
        # always; and a tenth of an LSTM's for one sequence.
        if cell != "tanh":
            variants["scan, a product a gate"] = variant(apart=True)
        if x.shape[0] == 1:
            variants["unrolled, inputs projected ahead"] = variant(ahead=True, unroll=True)
        return variants


if __name__ == "__main__":
    common.main(Jax)
