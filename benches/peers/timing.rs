//! What both Rust programs share: command line, clock and output, as `common.py` has them for the
//! Python peers.

use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Seconds of calls for each figure of a layer.
const SECONDS: f64 = 0.5;

/// Takes `--threads N` off the arguments, limits Candle and rayon to so many, and returns the
/// others. Comes before the first tensor.
pub(crate) fn arguments() -> Result<Vec<String>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut threads = 2;
    if arguments.first().is_some_and(|name| name == "--threads") {
        threads = arguments.get(1).ok_or("--threads needs a number")?.parse()?;
        arguments.drain(..2);
    }
    std::env::set_var("RAYON_NUM_THREADS", threads.to_string());
    // As the program has it: Candle's threads do not wait by spinning.
    std::env::set_var("CANDLE_BARRIER_POOL_SPIN_LIMIT", "0");
    Ok(arguments)
}

/// A layer's sizes: B, T, I, H.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) batch_size: usize,
    pub(crate) seq_len: usize,
    pub(crate) input_size: usize,
    pub(crate) hidden_size: usize,
}

impl Sizes {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let sizes = text.split(',').map(str::parse).collect::<std::result::Result<Vec<_>, _>>()?;
        let [batch_size, seq_len, input_size, hidden_size] = sizes[..] else {
            return Err(format!("sizes are B,T,I,H, not {text}").into());
        };
        Ok(Self { batch_size, seq_len, input_size, hidden_size })
    }

    /// `x`, `(B, T, I)`, and a gradient for the last state, `(B, H)`: normal.
    pub(crate) fn inputs(self) -> candle_core::Result<(Tensor, Tensor)> {
        let x = (self.batch_size, self.seq_len, self.input_size);
        let grad_h = (self.batch_size, self.hidden_size);
        Ok((
            Tensor::randn(0f32, 1., x, &Device::Cpu)?,
            Tensor::randn(0f32, 1., grad_h, &Device::Cpu)?,
        ))
    }

    /// Times `call` as `what` and prints the figures: it is repeated until it has run for
    /// [`SECONDS`], and 5 times at least.
    pub(crate) fn time(
        self,
        cell: &str,
        what: &str,
        mut call: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let warm_up = Instant::now();
        while warm_up.elapsed() < Duration::from_secs_f64(0.2 * SECONDS) {
            call()?;
        }
        let (mut times, mut sum) = (Vec::new(), 0.);
        while times.len() < 5 || sum < SECONDS {
            let start = Instant::now();
            call()?;
            let seconds = start.elapsed().as_secs_f64();
            times.push(seconds);
            sum += seconds;
        }
        times.sort_by(f64::total_cmp);
        let line = serde_json::json!({
            "job": "layer",
            "cell": cell,
            "shape": [self.batch_size, self.seq_len, self.input_size, self.hidden_size],
            "what": what,
            "calls": times.len(),
            "best_ms": 1e3 * times[0],
            "median_ms": 1e3 * times[times.len() / 2],
        });
        println!("{line}");
        Ok(())
    }
}
