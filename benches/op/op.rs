//! The recurrence beside a large matrix product: `just bench`.
//!
//! Criterion times every shape; a table at the end gives the fastest run of each as GFLOP/s, and as
//! a fraction of what the gemm crate reaches on a square product of 2,048 in the same run. Only
//! operations that are done count: there is no gradient for the inputs, and no product with the zero
//! state before the first step. Epochs of the reference job come first.
//!
//! `just bench gru` measures one cell alone. A last table tells what rows of different lengths cost.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use candle_rnn::data::mnist::Mnist;
use candle_rnn::nn::{Init, Sequences, Stack, StackConfig};
use candle_rnn::recurrence::Cell;
use candle_rnn::rng::{Purpose, SeededRng};
use candle_rnn::train::{Event, TrainConfig, Trainer, TrainerConfig};
use candle_rnn::VarSink;
use criterion::{Criterion, Throughput};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Side of the matrices of the large product.
const SIDE: usize = 2048;

/// `(B, T, I, H)`.
type Shape = (usize, usize, usize, usize);

/// Shapes whose fraction of the large product matters.
const SHAPES: [Shape; 4] =
    [(150, 28, 28, 150), (128, 784, 1, 128), (64, 128, 256, 512), (32, 64, 512, 1024)];
/// Time must grow with T, and with B.
const LONGER: [Shape; 4] =
    [(16, 28, 28, 150), (16, 280, 28, 150), (16, 2800, 28, 150), (1, 2800, 28, 150)];
const WIDER: [Shape; 5] = [
    (1, 28, 28, 150),
    (16, 28, 28, 150),
    (64, 28, 28, 150),
    (256, 28, 28, 150),
    (1024, 28, 28, 150),
];

/// Cells whose products differ; relu is tanh's.
const CELLS: [Cell; 3] = [Cell::Tanh, Cell::Gru, Cell::Lstm];

struct Layer {
    x: Tensor,
    layer: Stack,
    frozen: Stack,
}

impl Layer {
    fn new(cell: Cell, (batch_size, seq_len, input_size, hidden_size): Shape) -> Self {
        let build = || -> candle_rnn::Result<Self> {
            let sink = VarSink::new(DType::F32, &Device::Cpu);
            let rng = &mut SeededRng::new(1, Purpose::Init);
            let config = StackConfig::new(cell, input_size, hidden_size);
            let layer = Stack::init(config, Init::Pytorch, rng, &sink)?;
            let count = batch_size * seq_len * input_size;
            let x: Vec<f32> = (0..count).map(|_| rng.symmetric(1.) as f32).collect();
            let x = Tensor::from_vec(x, (batch_size, seq_len, input_size), &Device::Cpu)?;
            Ok(Self { x, frozen: layer.freeze()?, layer })
        };
        build().expect("a layer")
    }

    /// Inference: weights packed once.
    fn forward(&self) -> candle_rnn::Result<()> {
        std::hint::black_box(self.frozen.last(&self.x)?);
        Ok(())
    }

    /// Training: weights packed anew, gradients of all weights.
    fn forward_backward(&self) -> candle_rnn::Result<()> {
        let h_n = self.layer.last(&self.x)?;
        std::hint::black_box(h_n.backward()?);
        Ok(())
    }
}

/// Floating-point operations of forward, and of forward and backward.
fn flops(cell: Cell, (batch_size, seq_len, input_size, hidden_size): Shape) -> (f64, f64) {
    let rows = cell.gates() * hidden_size;
    let input = (2 * batch_size * seq_len * rows * input_size) as f64;
    let recurrent = (2 * batch_size * (seq_len - 1) * rows * hidden_size) as f64;
    (input + recurrent, 2. * input + 3. * recurrent)
}

/// Epochs of the reference job, with everything that a training step does: on MNIST where it is in
/// the user's cache folder, else on the sample, whose 10 batches have 160 images.
struct Epoch {
    trainer: Trainer,
    images: usize,
}

impl Epoch {
    /// Of an image: forward, and backward without a gradient for the pixels. 28 recurrent products
    /// are counted, as the job's nominal 234 GFLOP have them, though the first, with the zero state,
    /// is not done: 27 would make 3 % less.
    const FLOPS: f64 = 28. * 2. * 150. * (2. * (28. + 150.) + 150.);

    fn new() -> candle_rnn::Result<Self> {
        let config = TrainConfig {
            trainer: TrainerConfig { epochs: 1_000_000, ..TrainerConfig::default() },
            ..TrainConfig::default()
        };
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home);
        let mnist = cache.map(|cache| cache.join("candle-rnn/mnist"));
        let data = match mnist.and_then(|folder| Mnist::from_folder(&folder).ok()) {
            Some(data) => data,
            None => Mnist::sample()?,
        };
        let images = data.train.len();
        Ok(Self { trainer: Trainer::classifier(&config, data, &Device::Cpu)?, images })
    }

    /// Trains on all images, and returns the time that it took, without validation.
    fn train(&mut self) -> candle_rnn::Result<Duration> {
        loop {
            if let Event::Epoch(metrics) = self.trainer.next_event()? {
                return Ok(Duration::from_secs_f64(metrics.seconds));
            }
        }
    }
}

/// `(B, T, I, H)` of the layer that is run with rows of different lengths.
const RAGGED: Shape = (128, 256, 32, 128);

/// Times an LSTM, forward and backward, with rows of different lengths.
fn ragged() {
    let (batch_size, seq_len, ..) = RAGGED;
    let layer = Layer::new(Cell::Lstm, RAGGED);
    let full = vec![seq_len; batch_size];
    let sorted: Vec<usize> = (1..=batch_size).map(|row| row * seq_len / batch_size).collect();
    let order = SeededRng::new(1, Purpose::Init).permutation(batch_size as u32);
    let shuffled: Vec<usize> = order.iter().map(|row| sorted[*row as usize]).collect();
    let ways = [
        ("no lengths", None),
        ("all of T", Some(full)),
        ("all of T / 2", Some(vec![seq_len / 2; batch_size])),
        ("evenly from 1 to T, sorted", Some(sorted)),
        ("evenly from 1 to T, in any order", Some(shuffled)),
    ];
    println!("\nrows of different lengths: lstm {RAGGED:?}, forward + backward\n");
    println!("| lengths | ms | of no lengths |\n|---|---|---|");
    let mut whole = f64::NAN;
    for (name, lengths) in ways {
        let mut fastest = Fastest::new();
        for _ in 0..30 {
            fastest.time(|| {
                let mut sequences = Sequences::new(&layer.x);
                if let Some(lengths) = &lengths {
                    sequences = sequences.lengths(lengths);
                }
                let h_n = layer.layer.last(sequences).expect("forward");
                std::hint::black_box(h_n.backward().expect("backward"));
            });
        }
        let seconds = fastest.0.as_secs_f64();
        if lengths.is_none() {
            whole = seconds;
        }
        println!("| {name} | {:.2} | {:.2} |", 1e3 * seconds, seconds / whole);
    }
}

/// The fastest of all runs of something.
#[derive(Clone, Copy)]
struct Fastest(Duration);

impl Fastest {
    fn new() -> Self {
        Self(Duration::MAX)
    }

    fn time(&mut self, work: impl FnOnce()) -> Duration {
        let start = Instant::now();
        work();
        let taken = start.elapsed();
        self.0 = self.0.min(taken);
        taken
    }

    fn rate(&self, flops: f64) -> f64 {
        flops / self.0.as_secs_f64() / 1e9
    }
}

macro_rules! square_product {
    ($gemm:ident, $fastest:expr, $threads:expr) => {{
        let (a, b, mut c) =
            (vec![0.5f32; SIDE * SIDE], vec![0.5f32; SIDE * SIDE], vec![0f32; SIDE * SIDE]);
        let (side, stride) = (SIDE, SIDE as isize);
        let parallelism = match $threads {
            1 => $gemm::Parallelism::None,
            threads => $gemm::Parallelism::Rayon(threads),
        };
        for _ in 0..3 {
            // SAFETY: three matrices of SIDE x SIDE, each stored row by row.
            $fastest.time(|| unsafe {
                $gemm::gemm(
                    side,
                    side,
                    side,
                    c.as_mut_ptr(),
                    1,
                    stride,
                    false,
                    a.as_ptr(),
                    1,
                    stride,
                    b.as_ptr(),
                    1,
                    stride,
                    0.,
                    1.,
                    false,
                    false,
                    false,
                    parallelism,
                )
            });
        }
        std::hint::black_box(c);
    }};
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}

fn main() {
    // As the program has it: Candle's threads do not wait by spinning.
    std::env::set_var("CANDLE_BARRIER_POOL_SPIN_LIMIT", "0");
    let threads = rayon::current_num_threads();
    let forced = std::env::var("CANDLE_RNN_ISA").unwrap_or_default();
    let avx512 = forced != "avx2" && has_avx512();
    let mut criterion = Criterion::default()
        .configure_from_args()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(10);
    let large = RefCell::new(Fastest::new());
    let measure_large = || {
        let mut fastest = large.borrow_mut();
        if avx512 {
            square_product!(gemm, fastest, threads);
        } else {
            square_product!(gemm_avx2, fastest, threads);
        }
    };
    let mut epoch = Epoch::new().expect("a trainer");
    let mut fastest_epoch = Fastest::new();
    for _ in 0..8 {
        measure_large();
        for _ in 0..(110_000 / epoch.images).max(1) {
            let taken = rayon::scope(|_| epoch.train()).expect("an epoch");
            fastest_epoch.0 = fastest_epoch.0.min(taken);
        }
    }
    let mut rows = Vec::new();
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for cell in
        CELLS.into_iter().filter(|cell| wanted.starts_with('-') || cell.name().contains(&wanted))
    {
        let mut shapes: Vec<Shape> = SHAPES.to_vec();
        shapes.extend(LONGER);
        shapes.extend(WIDER.iter().filter(|shape| !LONGER.contains(shape)));
        if cell != Cell::Tanh {
            // One sequence, and the shapes that matter.
            shapes.truncate(SHAPES.len());
            shapes.push(WIDER[0]);
        }
        for shape in shapes {
            measure_large();
            let layer = Layer::new(cell, shape);
            let (forward_flops, all_flops) = flops(cell, shape);
            let (mut forward, mut all) = (Fastest::new(), Fastest::new());
            let name = format!("{shape:?}").replace(", ", "x");
            let mut group = criterion.benchmark_group(cell.name());
            group.throughput(Throughput::Elements(forward_flops as u64));
            group.bench_function(format!("forward {name}"), |bencher| {
                bencher.iter_custom(|count| {
                    rayon::scope(|_| {
                        (0..count).map(|_| forward.time(|| layer.forward().expect("forward"))).sum()
                    })
                })
            });
            group.throughput(Throughput::Elements(all_flops as u64));
            group.bench_function(format!("forward+backward {name}"), |bencher| {
                bencher.iter_custom(|count| {
                    rayon::scope(|_| {
                        (0..count)
                            .map(|_| all.time(|| layer.forward_backward().expect("backward")))
                            .sum()
                    })
                })
            });
            group.finish();
            rows.push((cell, shape, forward, all));
        }
    }
    measure_large();
    let product = large.borrow().rate(2. * (SIDE as f64).powi(3));
    let isa = match (avx512, cfg!(target_arch = "x86_64")) {
        (true, _) => "AVX-512",
        (_, true) => "AVX2",
        _ => "NEON",
    };
    println!("\nlarge product: {SIDE} x {SIDE}, gemm crate, {isa}, {threads} threads: {product:.0} GFLOP/s\n");
    let rate = fastest_epoch.rate(epoch.images as f64 * Epoch::FLOPS);
    println!(
        "reference job, epochs of {} images, {:.3} s: {rate:.0} GFLOP/s, {:.2} of the large product\n",
        epoch.images,
        fastest_epoch.0.as_secs_f64(),
        rate / product
    );
    println!(
        "| cell | B, T, I, H | forward | GFLOP/s | fraction | forward + backward | GFLOP/s | fraction |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (cell, shape, forward, all) in rows {
        let (forward_flops, all_flops) = flops(cell, shape);
        let cells = [(forward, forward_flops), (all, all_flops)].map(|(fastest, flops)| {
            let rate = fastest.rate(flops);
            format!("{:.1} µs | {rate:.0} | {:.2}", 1e6 * fastest.0.as_secs_f64(), rate / product)
        });
        println!("| {} | {shape:?} | {} |", cell.name(), cells.join(" | "));
    }
    rayon::scope(|_| ragged());
}
