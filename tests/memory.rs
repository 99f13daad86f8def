//! What a layer keeps for its backward pass, and what reading data takes, counted by the allocator.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

use candle_core::{DType, Device, Tensor};
use candle_rnn::data::formats::{read, Layout as TableLayout, ReadOptions, SequenceFile};
use candle_rnn::data::TargetKind;
use candle_rnn::nn::{Init, Sequences, Stack, StackConfig};
use candle_rnn::recurrence::{release_memory, Cell};

/// The system's allocator, which counts.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it hands everything on to the system's allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        System.alloc(layout)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        System.dealloc(at, layout);
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const B: usize = 10;
const I: usize = 3;
const H: usize = 64;

/// Bytes that a forward pass over `steps` steps leaves allocated, and has at most, beyond what was
/// there before it.
fn forward(layer: &Stack, steps: usize, read_all: bool, recompute: bool) -> (usize, usize) {
    let x = Tensor::ones((B, steps, I), DType::F32, &Device::Cpu).unwrap();
    release_memory();
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let sequences = Sequences::new(&x);
    let kept: Tensor = match (read_all, recompute) {
        (true, _) => layer.forward(sequences).unwrap().outputs,
        (false, true) => layer.last(sequences.recomputing()).unwrap(),
        (false, false) => layer.last(sequences).unwrap(),
    };
    let peak = PEAK.load(Ordering::Relaxed) - before;
    // Buffers that nobody uses any more are not what is kept.
    release_memory();
    let left = NOW.load(Ordering::Relaxed) - before;
    assert!(kept.track_op());
    (left, peak)
}

/// Numbers that docs and docstrings say are kept for each row and step in one direction.
fn documented(cell: Cell) -> usize {
    let gates = match cell {
        Cell::Tanh | Cell::Relu => 0,
        Cell::Gru | Cell::Lstm => 4 * H,
        Cell::GruResetBefore | Cell::MinimalGru => 3 * H,
    };
    H + gates + if cell == Cell::Lstm { H } else { 0 }
}

/// The allocator counts for the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_layer_keeps_h_c_and_gates_once_each_and_nothing_else() {
    let _alone = ALONE.lock().unwrap();
    for cell in Cell::ALL {
        for bidirectional in [false, true] {
            let config = StackConfig { bidirectional, ..StackConfig::new(cell, I, H) };
            let (layer, _sink) = common::stack(config, Init::Orthogonal, 1, DType::F32, "");
            // Threads and the like are there before anything is counted.
            forward(&layer, 100, true, false);
            for read_all in [true, false] {
                let what = format!("{} bidirectional {bidirectional} all {read_all}", cell.name());
                let expected = 4 * B * config.directions() * documented(cell);
                let (left, peak) = forward(&layer, 200, read_all, false);
                let (more_left, more_peak) = forward(&layer, 400, read_all, false);
                for (name, grown) in [("kept", more_left - left), ("peak", more_peak - peak)] {
                    let per_step = grown as f64 / 200.;
                    let off = per_step / expected as f64 - 1.;
                    assert!(off.abs() < 0.01, "{what}: {name} {per_step} a step, not {expected}");
                }
            }
            let (left, _) = forward(&layer, 100, false, true);
            let (more_left, _) = forward(&layer, 1600, false, true);
            let per_step = (more_left - left) as f64 / 1500.;
            let all = (4 * B * config.directions() * documented(cell)) as f64;
            assert!(per_step < 0.1 * all, "{}: {per_step} of {all} a step", cell.name());
        }
    }
}

/// Bytes that `steps` single steps leave allocated until their backward pass.
fn single_steps(layer: &Stack, x: &Tensor, steps: usize) -> usize {
    let x_t = x.narrow(1, 0, 1).unwrap().squeeze(1).unwrap();
    release_memory();
    let before = NOW.load(Ordering::Relaxed);
    let cell = layer.cell(0);
    let (mut state, mut outputs) = (None, Vec::new());
    for _ in 0..steps {
        let after = cell.step(&x_t, state.as_ref()).unwrap();
        outputs.push(after.h.clone());
        state = Some(after);
    }
    release_memory();
    let left = NOW.load(Ordering::Relaxed) - before;
    assert!(outputs.iter().all(Tensor::track_op));
    left
}

/// A layer of 512 units on 512 features, a batch of 8: the cell that keeps least, and the one that keeps most.
#[test]
fn steps_keep_at_most_twice_what_one_call_keeps() {
    let _alone = ALONE.lock().unwrap();
    let (batch_size, units) = (8, 512);
    for cell in [Cell::Tanh, Cell::Lstm] {
        let layer = || {
            let config = StackConfig::new(cell, units, units);
            common::stack(config, Init::Glorot, 1, DType::F32, "").0
        };
        let of_one_call = |steps: usize| {
            let layer = layer();
            let x = Tensor::ones((batch_size, steps, units), DType::F32, &Device::Cpu).unwrap();
            release_memory();
            let before = NOW.load(Ordering::Relaxed);
            let output = layer.forward(&x).unwrap();
            release_memory();
            let left = NOW.load(Ordering::Relaxed) - before;
            assert!(output.outputs.track_op());
            left
        };
        let of_steps = |steps: usize| {
            let x = Tensor::ones((batch_size, 1, units), DType::F32, &Device::Cpu).unwrap();
            single_steps(&layer(), &x, steps)
        };
        // Once, for what is made once.
        let _ = (of_one_call(1), of_steps(1));
        let (call, steps) = (of_one_call(100), of_steps(100));
        let grown = [of_one_call(200) - call, of_steps(200) - steps];
        println!("{}: 100 steps keep {steps} bytes, one call {call}", cell.name());
        assert!(steps <= 2 * call, "{}: {steps} of {call} bytes", cell.name());
        // Of what the steps add, too.
        assert!(grown[1] <= 2 * grown[0], "{}: {grown:?} bytes", cell.name());
    }
}

/// Reading takes at most half again what the data take: the values, a byte for each label, the names, and four bytes
/// for each place.
#[test]
fn reading_takes_at_most_half_again_of_the_data() {
    let _alone = ALONE.lock().unwrap();
    let (count, steps, features) = (50_000, 20, 3);
    let folder = tempfile::tempdir().unwrap();
    let mut table = String::from("id,label,a,b,c\n");
    for step in 0..count * steps {
        let (sequence, class) = (step / steps, ["walk", "run", "sit"][step % 7 % 3]);
        table.push_str(&format!("s{sequence},{class},{},0.5,{}\n", step % 10, step % 9));
    }
    std::fs::write(folder.path().join("a.csv"), table).unwrap();
    // Labels of sequences, and of steps.
    for (name, labels) in [("b", count), ("c", count * steps)] {
        let (x, y) = (4 * count * steps * features, 8 * labels);
        let shape = if labels == count { format!("{count}") } else { format!("{count},{steps}") };
        let header = format!(
            "{{\"x\":{{\"dtype\":\"F32\",\"shape\":[{count},{steps},{features}],\"data_offsets\":[0,{x}]}},\
             \"y\":{{\"dtype\":\"I64\",\"shape\":[{shape}],\"data_offsets\":[{x},{}]}}}}",
            x + y
        );
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.bytes());
        file.resize(file.len() + x, 0);
        file.extend((0..labels as i64).flat_map(|label| (label % 3).to_le_bytes()));
        std::fs::write(folder.path().join(format!("{name}.safetensors")), file).unwrap();
    }
    let values = 4 * count * steps * features;
    for (name, kind, compact) in [
        ("a.csv", TargetKind::StepClass, values + count * steps + count * (6 + 4)),
        ("b.safetensors", TargetKind::Class, values + count),
        ("c.safetensors", TargetKind::StepClass, values + count * steps),
    ] {
        let before = NOW.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let loaded = read(folder.path().join(name), &ReadOptions::default()).unwrap();
        let peak = PEAK.load(Ordering::Relaxed) - before;
        let data = loaded.sequences().unwrap();
        assert_eq!((data.len(), data.target().kind()), (count, kind), "{name}");
        println!("{name}: {peak} bytes for {compact}");
        // Buffers, whatever the data are.
        assert!(peak <= compact / 2 * 3 + (1 << 20), "{name}: {peak} bytes for {compact}");
    }
}

/// A single line, or a million names, take at most four times the bytes of the file, unpacked, and some for buffers.
#[test]
fn long_lines_take_at_most_four_times_their_bytes() {
    let _alone = ALONE.lock().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let values = vec!["1"; 4 << 20].join(",");
    let half = vec!["1"; 2 << 20].join(",");
    let names = (0..300_000).map(|at| format!("a{at}")).collect::<Vec<_>>().join(",");
    let zeros = vec!["0"; 300_000].join(",");
    let columns = vec!["1"; 4 << 20].join(",");
    for (name, content) in [
        ("a.ts", format!("@problemName a\n@data\n{values}\n")),
        ("b.ts", format!("@problemName b\n@data\n{half}:{half}\n")),
        ("a.arff", format!("@relation a\n@attribute x relational\n@attribute y numeric\n@end x\n@data\n'{half}\\n{half}'\n")),
        ("a.csv", format!("{zeros}\n{zeros}\n")),
        ("b.csv", format!("{names}\n{zeros}\n{zeros}\n")),
        ("c.csv", format!("{columns}\n{columns}\n")),
        ("a.jsonl", format!("{{\"x\": [{values}]}}\n")),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, &content).unwrap();
        let bytes = content.len();
        drop(content);
        let options = ReadOptions { layout: name.ends_with("csv").then_some(TableLayout::Wide), ..Default::default() };
        let before = NOW.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let loaded = read(&path, &options).unwrap();
        let peak = PEAK.load(Ordering::Relaxed) - before;
        println!("{name}: {peak} bytes for a file of {bytes}: {:.1}", peak as f64 / bytes as f64);
        // Columns have names, which are held too.
        let more = match name {
            "c.csv" => 64 << 20,
            _ if name.ends_with("csv") => 32 << 20,
            _ => 12 << 20,
        };
        assert!(peak <= 4 * bytes + more, "{name}: {peak} bytes for {bytes}");
        drop(loaded);
    }
}

/// What `eval` and `predict` read takes the same memory however large the file is.
#[test]
fn a_large_file_is_read_in_bounded_memory() {
    let _alone = ALONE.lock().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (count, steps) = (200_000, 24);
    let row = |n: usize, between: &str| {
        (0..steps).map(|t| ((n + t) % 10).to_string()).collect::<Vec<_>>().join(between)
    };
    let table: String =
        (0..count).map(|n| format!("{},{}\n", ["up", "down"][n % 2], row(n, ","))).collect();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(table.as_bytes()).unwrap();
    std::fs::write(folder.path().join("a.csv.gz"), packed.finish().unwrap()).unwrap();
    std::fs::write(folder.path().join("a.csv"), table).unwrap();
    let long: String =
        (0..count).map(|n| format!("s{},{},{}\n", 999_999 - n, n % 2, row(n, ","))).collect();
    let names = (0..steps).map(|t| format!("f{t}x")).collect::<Vec<_>>().join(",");
    std::fs::write(folder.path().join("b.csv"), format!("id,label,{names}\n{long}")).unwrap();
    drop(long);
    let lines: String = (0..count)
        .map(|n| format!("{{\"x\": [{}], \"y\": \"{}\"}}\n", row(n, ", "), n % 3))
        .collect();
    std::fs::write(folder.path().join("a.jsonl"), lines).unwrap();
    for (name, sequences) in
        [("a.csv", count), ("a.csv.gz", count), ("b.csv", count), ("a.jsonl", count)]
    {
        let before = NOW.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let path = folder.path().join(name);
        let file = SequenceFile::scan(&path, &ReadOptions::default(), &mut |_| {}).unwrap();
        assert_eq!(file.outline().map(|found| found.sequences), Some(sequences), "{name}");
        let mut found = 0;
        file.for_each_block(|block| {
            found += block.len();
            Ok::<(), candle_rnn::Error>(())
        })
        .unwrap();
        let peak = PEAK.load(Ordering::Relaxed) - before;
        println!("{name}: {peak} bytes for {} of values", 4 * steps * count);
        assert_eq!(found, sequences, "{name}");
        // 65,536 sequences are held at first; so are names that come in no order.
        let names = if name == "b.csv" { 8 << 20 } else { 0 };
        assert!(peak <= names + (13 << 20), "{name}: {peak} bytes");
    }
}
