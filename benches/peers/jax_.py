"""JAX: lax.scan over the steps, optax.adam, everything jitted."""

import common


class Jax:
    name = "jax"

    def __init__(self, threads):
        # XLA takes a thread for each core that the process may use: `common` has limited those.
        import jax
        import optax

        self.jax, self.optax = jax, optax
        self.version = f"{jax.__version__}, optax {optax.__version__}"

    def last_state(self, x, w_ih, w_hh, b, ahead=False, unroll=1):
        """x: (B, T, I), w_ih: (I, H), w_hh: (H, H), b: (H,); returns h_T, (B, H).

        `ahead`: the inputs of all steps are projected before the scan, in one product.
        """
        jnp = self.jax.numpy

        def step(h, x_t):
            z = x_t if ahead else x_t @ w_ih + b
            return jnp.tanh(z + h @ w_hh), None

        h_0 = jnp.zeros((x.shape[0], w_hh.shape[0]), x.dtype)
        steps = (x @ w_ih + b if ahead else x).swapaxes(0, 1)
        return self.jax.lax.scan(step, h_0, steps, unroll=unroll)[0]

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

    def layer(self, x, w_ih, w_hh, b, grad_h):
        jax = self.jax
        x, grad_h = jax.device_put(x), jax.device_put(grad_h)
        weights = jax.device_put((w_ih.T.copy(), w_hh.T.copy(), b))

        def variant(**how):
            def loss(weights, x):
                return (self.last_state(x, *weights, **how) * grad_h).sum()

            forward = jax.jit(lambda weights, x: self.last_state(x, *weights, **how))
            grads = jax.jit(jax.grad(loss))
            return (
                lambda: jax.block_until_ready(forward(weights, x)),
                lambda: jax.block_until_ready(grads(weights, x)),
            )

        return {
            "scan": variant(),
            "scan, 4 steps unrolled": variant(unroll=4),
            "scan, inputs projected ahead": variant(ahead=True),
        }


if __name__ == "__main__":
    common.main(Jax)
