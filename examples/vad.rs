//! Finds speech in a WAV file with Silero VAD v6, a voice activity detector that others trained.
//!
//! Every 32 ms of sound go through a short-time Fourier transform, four convolutions, an LSTM of 128 units and a head that
//! gives the probability of speech. The file is read frame by frame, and a segment is printed as soon as it has ended,
//! as `start end` in seconds. The model's source is <https://github.com/snakers4/silero-vad>.
//!
//! ```sh
//! just voices # fetches the weights
//! cargo run --release --example vad voices/silero_vad.safetensors speech.wav
//! cargo run --release --example vad voices/silero_vad.safetensors speech.wav --probabilities
//! ```
//!
//! The sound is 16-bit PCM, mono, 16 kHz; `-` reads it from stdin. `--probabilities` prints those of all frames instead of
//! the segments. The median time of a frame goes to stderr.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_rnn::files::tensors;
use candle_rnn::{Dense, Error, Lstm, LstmConfig, Result, State};

/// Samples in a second.
const RATE: usize = 16_000;
/// Samples in a frame.
const FRAME: usize = 512;
/// Samples of the frame before that a frame begins with.
const CONTEXT: usize = 64;
/// Samples in a window of the Fourier transform.
const WINDOW: usize = 256;
/// Samples from one window to the next.
const HOP: usize = 128;
/// Frequencies of the Fourier transform.
const BINS: usize = WINDOW / 2 + 1;
/// Windows in a frame.
const WINDOWS: usize = 4;

/// The detector, and where it is in the sound.
struct Silero {
    fourier: Dense,
    convolutions: Vec<Convolution>,
    lstm: Lstm,
    /// `(H,)` and its bias.
    head: (Vec<f32>, f32),
    context: [f32; CONTEXT],
    state: Option<State>,
}

impl Silero {
    /// Takes the weights by the names that `scripts/silero-weights.py` gives them.
    fn load(path: &Path) -> Result<Self> {
        let weights = tensors::read(path)?;
        let get = |name: &str| weight(&weights, name);
        let convolution = |index: usize, stride: usize| {
            let weight = get(&format!("encoder.{index}.weight"))?;
            Convolution::new(&weight, get(&format!("encoder.{index}.bias"))?, stride)
        };
        let fourier = get("stft.weight")?.reshape((2 * BINS, WINDOW))?;
        let all = weights.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
        let vb = VarBuilder::from_tensors(all, DType::F32, &Device::Cpu);
        let [head, bias] = [get("head.weight")?, get("head.bias")?];
        Ok(Self {
            fourier: Dense::of_weights(fourier, None)?.freeze()?,
            convolutions: vec![
                convolution(0, 1)?,
                convolution(1, 2)?,
                convolution(2, 2)?,
                convolution(3, 1)?,
            ],
            // Packed once: they do not change.
            lstm: Lstm::new(LstmConfig::new(128, 128), vb.pp("lstm"))?.freeze()?,
            head: (head.flatten_all()?.to_vec1()?, bias.reshape(())?.to_scalar()?),
            context: [0.; CONTEXT],
            state: None,
        })
    }

    /// Takes the next frame and returns the probability that it is speech.
    fn push(&mut self, frame: &[f32; FRAME]) -> Result<f32> {
        let mut sound = [&self.context[..], frame].concat();
        self.context.copy_from_slice(&frame[FRAME - CONTEXT..]);
        // Reflected at the last sample.
        let end = sound.len();
        sound.extend_from_within(end - 1 - CONTEXT..end - 1);
        sound[end..].reverse();
        let windows = (0..WINDOWS).flat_map(|window| &sound[window * HOP..][..WINDOW]);
        let spectrum = dense(&self.fourier, windows.copied().collect(), WINDOWS)?;
        let mut x: Vec<f32> = Vec::with_capacity(WINDOWS * BINS);
        for spectrum in spectrum.chunks_exact(2 * BINS) {
            let (real, imaginary) = spectrum.split_at(BINS);
            x.extend(real.iter().zip(imaginary).map(|(re, im)| (re * re + im * im).sqrt()));
        }
        for convolution in &self.convolutions {
            x = convolution.forward(&x)?;
        }
        let width = x.len();
        let x_t = Tensor::from_vec(x, (1, width), &Device::Cpu)?;
        let (h_t, state) = self.lstm.step(&x_t, self.state.as_ref())?;
        self.state = Some(state);
        let (weight, bias) = &self.head;
        let h_t = h_t.flatten_all()?.to_vec1::<f32>()?;
        let logit = bias + h_t.iter().zip(weight).map(|(h, w)| h.max(0.) * w).sum::<f32>();
        Ok(1. / (1. + (-logit).exp()))
    }
}

/// A convolution over 3 steps, padded by a step of zeros at either end, and relu.
struct Convolution {
    /// `(O, 3 I)`: it reads three steps side by side.
    dense: Dense,
    inputs: usize,
    stride: usize,
}

impl Convolution {
    /// `weight`: `(O, I, 3)`; `bias`: `(O,)`.
    fn new(weight: &Tensor, bias: Tensor, stride: usize) -> Result<Self> {
        let (outputs, inputs, steps) = weight.dims3()?;
        let weight = weight.transpose(1, 2)?.contiguous()?.reshape((outputs, steps * inputs))?;
        Ok(Self { dense: Dense::of_weights(weight, Some(bias))?.freeze()?, inputs, stride })
    }

    /// `(T, I)` to `(T / stride, O)`, rounded up.
    fn forward(&self, x: &[f32]) -> Result<Vec<f32>> {
        let zeros = vec![0.; self.inputs];
        let padded = [&zeros, x, &zeros].concat();
        let steps = padded.windows(3 * self.inputs).step_by(self.stride * self.inputs);
        let rows = steps.len();
        let mut y = dense(&self.dense, steps.flatten().copied().collect(), rows)?;
        y.iter_mut().for_each(|y| *y = y.max(0.));
        Ok(y)
    }
}

/// A dense layer over some rows.
fn dense(layer: &Dense, x: Vec<f32>, rows: usize) -> Result<Vec<f32>> {
    let width = x.len() / rows;
    let x = Tensor::from_vec(x, (rows, width), &Device::Cpu)?;
    Ok(layer.forward(&x)?.flatten_all()?.to_vec1()?)
}

fn weight(weights: &BTreeMap<String, Tensor>, name: &str) -> Result<Tensor> {
    weights.get(name).cloned().ok_or_else(|| Error::Weight {
        name: name.into(),
        expected: "a tensor of Silero VAD v6, 16 kHz".into(),
        found: "none".into(),
    })
}

/// Segments out of probabilities, with the thresholds and durations that Silero's own program takes.
#[derive(Default)]
struct Segments {
    /// The first sample of the next frame.
    position: usize,
    /// The first sample of the segment, while there is speech.
    start: Option<usize>,
    /// The first sample of the silence that may end it.
    silence: Option<usize>,
}

impl Segments {
    /// A frame of at least this probability begins a segment, or goes on with it.
    const SPEECH: f32 = 0.5;
    /// A frame of less may end it.
    const SILENCE: f32 = 0.35;
    /// Samples that a segment must be longer than: 250 ms.
    const MIN_SPEECH: usize = RATE / 4;
    /// Samples of silence that end a segment: 100 ms.
    const MIN_SILENCE: usize = RATE / 10;
    /// Samples that are added at either end: 30 ms.
    const PAD: usize = RATE * 3 / 100;

    /// Takes the probability of a frame and returns the segment that it ended, if it did.
    fn push(&mut self, probability: f32) -> Option<Range<usize>> {
        let now = self.position;
        self.position += FRAME;
        if probability >= Self::SPEECH {
            self.silence = None;
            self.start.get_or_insert(now);
            return None;
        }
        if probability >= Self::SILENCE || self.start.is_none() {
            return None;
        }
        let end = *self.silence.get_or_insert(now);
        if now - end < Self::MIN_SILENCE {
            return None;
        }
        self.silence = None;
        self.end(end, now)
    }

    /// The segment that the end of the sound, of so many samples, cuts off.
    fn finish(mut self, samples: usize) -> Option<Range<usize>> {
        self.end(samples, samples)
    }

    fn end(&mut self, end: usize, samples: usize) -> Option<Range<usize>> {
        let start = self.start.take()?;
        let is_long = end - start > Self::MIN_SPEECH;
        is_long.then(|| start.saturating_sub(Self::PAD)..(end + Self::PAD).min(samples))
    }
}

/// The samples of a WAV file, as they arrive.
struct Wav<R> {
    source: R,
    path: PathBuf,
    /// Bytes that are still to come; `None` where a program that writes to a pipe could not know.
    left: Option<usize>,
}

impl<R: Read> Wav<R> {
    /// Reads the header.
    fn open(source: R, path: &Path) -> Result<Self> {
        let mut wav = Self { source, path: path.into(), left: None };
        let mut header = [0; 12];
        wav.fill(&mut header)?;
        if !header.starts_with(b"RIFF") || !header.ends_with(b"WAVE") {
            return Err(wav.wrong("not a WAV file"));
        }
        let mut format = None;
        loop {
            let mut chunk = [0; 8];
            wav.fill(&mut chunk)?;
            let size = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
            if chunk.starts_with(b"data") {
                wav.left = (size != u32::MAX).then_some(size as usize);
                break;
            }
            // Of an odd number of bytes one more follows.
            let size = u64::from(size) + u64::from(size % 2);
            let mut content = Vec::new();
            (&mut wav.source).take(size).read_to_end(&mut content).map_err(|e| wav.unread(e))?;
            if chunk.starts_with(b"fmt ") && content.len() >= 16 {
                let word = |at: usize| u16::from_le_bytes([content[at], content[at + 1]]);
                let rate = usize::from(word(4)) | usize::from(word(6)) << 16;
                format = Some((word(2), rate, word(14)));
            }
        }
        let Some((channels, rate, bits)) = format else { return Err(wav.wrong("has no format")) };
        if (channels, rate, bits) != (1, RATE, 16) {
            return Err(wav.wrong(&format!(
                "has {channels} channels of {bits} bits at {rate} Hz, must have 1 of 16 bits at {RATE} Hz: \
                 `ffmpeg -i FILE -ac 1 -ar {RATE} -sample_fmt s16 speech.wav` converts it"
            )));
        }
        Ok(wav)
    }

    /// The next frame, with zeros behind the last sample, and the number of its samples; 0 at the end.
    fn frame(&mut self) -> Result<([f32; FRAME], usize)> {
        let mut bytes = [0; 2 * FRAME];
        let wanted = self.left.map_or(bytes.len(), |left| left.min(bytes.len()));
        let mut read = 0;
        while read < wanted {
            match self.source.read(&mut bytes[read..wanted]).map_err(|e| self.unread(e))? {
                0 => break,
                more => read += more,
            }
        }
        if let Some(left) = &mut self.left {
            *left -= read;
            if read < wanted {
                let missing = *left;
                return Err(self.wrong(&format!("ends {missing} bytes too early")));
            }
        }
        let mut frame = [0.; FRAME];
        for (sample, bytes) in frame.iter_mut().zip(bytes[..read].chunks_exact(2)) {
            *sample = f32::from(i16::from_le_bytes([bytes[0], bytes[1]])) / 32768.;
        }
        Ok((frame, read / 2))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.source.read_exact(bytes).map_err(|error| self.unread(error))
    }

    fn unread(&self, error: io::Error) -> Error {
        self.wrong(&format!("cannot be read: {error}"))
    }

    fn wrong(&self, reason: &str) -> Error {
        Error::DataFile { path: self.path.clone(), reason: reason.into() }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Candle's errors may go on with where in its source they come from.
            let error = error.to_string();
            eprintln!("error: {}", error.lines().next().unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (weights, sound, prints_probabilities) = match &arguments[..] {
        [weights, sound] => (weights, sound, false),
        [weights, sound, flag] if flag == "--probabilities" => (weights, sound, true),
        _ => return Err(Error::Config("usage: vad WEIGHTS WAV [--probabilities]".into())),
    };
    let mut model = Silero::load(Path::new(weights))?;
    let path = Path::new(sound);
    let source: Box<dyn Read> = if sound == "-" {
        Box::new(io::stdin())
    } else {
        let file = File::open(path);
        Box::new(file.map_err(|cause| Error::Io { path: path.into(), action: "open", cause })?)
    };
    let mut wav = Wav::open(BufReader::new(source), path)?;

    let print = |segment: Option<Range<usize>>| {
        if let Some(Range { start, end }) = segment.filter(|_| !prints_probabilities) {
            println!("{:.3} {:.3}", start as f64 / RATE as f64, end as f64 / RATE as f64);
        }
    };
    let (mut segments, mut samples, mut times) = (Segments::default(), 0, Vec::new());
    loop {
        let (frame, count) = wav.frame()?;
        if count == 0 {
            break;
        }
        let began = Instant::now();
        let probability = model.push(&frame)?;
        times.push(began.elapsed());
        samples += count;
        if prints_probabilities {
            println!("{probability:.7}");
        }
        print(segments.push(probability));
    }
    print(segments.finish(samples));
    times.sort();
    if let Some(median) = times.get(times.len() / 2) {
        eprintln!("{} frames, {:.1} µs each", times.len(), median.as_secs_f64() * 1e6);
    }
    Ok(())
}
