"""Makes vad.json and pronunciations.txt: what Silero VAD in ONNX Runtime and g2p_en itself say, for tests/voices.rs.

Run in .venv-onnx (`just onnx`, numpy 2.4.6 and onnxruntime 1.32.0) after `just voices`. Of what the two packages import
besides numpy nothing is used here: it is replaced by mocks. `--time` prints how long ONNX Runtime takes for a frame.
"""

import json
import math
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import onnxruntime

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "voices/packages"
RATE, FRAME, CONTEXT = 16000, 512, 64

WORDS = """
recurrent activationist candle network tensor gradient backpropagation epoch softmax embedding hyperparameter rustacean
borrowing lifetimes crates compiler kernel vectorised bidirectional perplexity knight psychology through thorough colonel
queue rhythm xylophone yacht wednesday chrysanthemum onomatopoeia otorhinolaryngology antidisestablishmentarianism blorf
zzyzx quixotically frumious vorpal mimsy borogoves slithy jabberwock brillig a i xq don't naïve Capital
""".split()

# Frequencies and bandwidths of four formants.
BANDWIDTHS = [80, 90, 120, 150]
VOWELS = {
    "a": [730, 1090, 2440, 3400],
    "e": [530, 1840, 2480, 3400],
    "i": [270, 2290, 3010, 3500],
    "o": [570, 840, 2410, 3300],
    "u": [300, 870, 2240, 3300],
}
# Seconds of silence, of speech with its pitch at begin and end and its vowels, and of noise with its amplitude.
SCENE = [
    (0.8, None),
    (1.6, (130, 95, "aieou")),
    (0.9, None),
    (1.2, (210, 160, "oiae")),
    (0.7, None),
    (0.5, 0.3),
    (0.5, None),
]


def rounded(value):
    """To 6 decimals, by whose last bits mathematical libraries do not differ."""
    return math.floor(value * 1e6 + 0.5) / 1e6


def resonators(vowel):
    """The coefficients of y_t = a x_t + b y_{t-1} + c y_{t-2} of each formant."""
    for frequency, bandwidth in zip(VOWELS[vowel], BANDWIDTHS):
        r = math.exp(-math.pi * bandwidth / RATE)
        b = rounded(2 * r * math.cos(2 * math.pi * frequency / RATE))
        c = rounded(-r * r)
        yield 1 - b - c, b, c


def speech(samples, start, end, vowels):
    """Pulses of a glottis through formants, four syllables a second; at most 0.5."""
    phase, pulse, sound = 0.0, 0.0, []
    coefficients = [list(resonators(vowel)) for vowel in vowels]
    states = [(0.0, 0.0)] * 4
    for at in range(samples):
        phase += (start + (end - start) * at / samples) / RATE
        beat = 1.0 if phase >= 1 else 0.0
        phase -= beat
        pulse += 0.04 * (beat - pulse)
        y = pulse
        for index, (a, b, c) in enumerate(coefficients[at * len(vowels) // samples]):
            y1, y2 = states[index]
            y = a * y + b * y1 + c * y2
            states[index] = y, y1
        syllable = (at % 4000) / 4000
        envelope = 0.1 + 0.9 * (1 - abs(2 * syllable - 1))
        edge = min(1.0, min(at, samples - at) / 480)
        sound.append(y * envelope * edge)
    loudest = max(abs(y) for y in sound)
    return [0.5 * y / loudest for y in sound]


def scene():
    """The samples of all parts one after the other, as 16-bit numbers, with a little noise throughout."""
    sound, random = [], 1
    for seconds, content in SCENE:
        samples = round(seconds * RATE)
        part = speech(samples, *content) if isinstance(content, tuple) else [0.0] * samples
        amplitude = content if isinstance(content, float) else 0.001
        for y in part:
            random = (random * 1103515245 + 12345) % 2**31
            y += amplitude * (random / 2**30 - 1)
            sound.append(math.floor(y * 32767 + 0.5))
    return sound


def session():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    file = PACKAGES / "silero_vad/data/silero_vad_16k_op15.onnx"
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def probabilities(samples):
    """Of all frames, and how long each took, in seconds."""
    model, rate = session(), np.array(RATE)
    sound = np.array(samples + [0] * (-len(samples) % FRAME), np.float32) / 32768
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT, np.float32)
    found, times = [], []
    for frame in sound.reshape(-1, FRAME):
        x = np.concatenate([context, frame])[None]
        began = time.perf_counter()
        y, state = model.run(None, {"input": x, "state": state, "sr": rate})
        times.append(time.perf_counter() - began)
        context = frame[-CONTEXT:]
        found.append(float(y[0, 0]))
    return found, times


def mocked(*names):
    sys.path.insert(0, str(PACKAGES))
    sys.modules.update({name: mock.MagicMock() for name in names})


def segments(found, samples):
    """In seconds, by Silero's own function."""
    mocked("torch", "packaging")
    from silero_vad.utils_vad import get_speech_timestamps_from_probs

    found = get_speech_timestamps_from_probs(found, audio_length_samples=samples)
    return [[segment["start"] / RATE, segment["end"] / RATE] for segment in found]


def pronunciations():
    mocked("nltk", "nltk.corpus", "nltk.tokenize", "inflect")
    from g2p_en.g2p import G2p

    model = G2p()
    for word in WORDS:
        yield f"{word} {' '.join(model.predict(word.lower()))}"


def main():
    samples = scene()
    found, times = probabilities(samples)
    if "--time" in sys.argv:
        times = [time for _ in range(20) for time in probabilities(samples)[1]]
        print(f"ONNX Runtime {onnxruntime.__version__}: {np.median(times) * 1e6:.1f} µs a frame")
        return
    checksum = sum(sample * (at % 1000) for at, sample in enumerate(samples))
    golden = {
        "samples": len(samples),
        "checksum": checksum,
        "segments": segments(found, len(samples)),
        "probabilities": [round(value, 7) for value in found],
    }
    folder = Path(__file__).parent
    (folder / "vad.json").write_text(json.dumps(golden) + "\n")
    (folder / "pronunciations.txt").write_text("\n".join(pronunciations()) + "\n")


if __name__ == "__main__":
    main()
