// --- the connection: the network in this file ----------------------------------------------------
// JSON, or what was compressed with gzip and put into base64.
const part = id => $(id).textContent;
async function unpacked(id) {
  const bytes = Uint8Array.from(atob(part(id)), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
const run = JSON.parse(part('part-run'));

// A program of this file: bytes in, bytes out, at the same place in its memory.
class Program {
  constructor(exports) { this.exports = exports; }
  static async of(id) { return new Program((await WebAssembly.instantiate(await unpacked(id))).instance.exports); }
  put(bytes) {
    const at = this.exports.reserve(bytes.byteLength);
    new Uint8Array(this.exports.memory.buffer, at, bytes.byteLength).set(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  }
  taken(len) { return this.exports.memory.buffer.slice(this.exports.answer(), this.exports.answer() + len); }
}
// The network, and what reads drawings, once there is one.
let opened = null, reader = null;
async function open() {
  const [program, network] = await Promise.all([Program.of('part-program'), unpacked('part-network')]);
  program.put(network);
  if (!program.exports.load()) throw new Error('The network in this file is damaged.');
  return program;
}

async function ask(path, body) {
  const program = await (opened ||= open());
  if (path === '/v1/models') return { models: [run.about] };
  if (path === '/v1/samples') return JSON.parse(new TextDecoder().decode(await unpacked('part-samples')));
  if (!body.drawing) return steps(program, body);
  const { pixels, warning } = digit(await (reader ||= Program.of('part-drawing')), body.drawing);
  return steps(program, { pixels }, warning);
}
// A drawing as a request has it.
const drawn = canvas => ({ drawing: canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height) });

function steps(program, { pixels, sequence }, warning) {
  const { about } = run, isOfNumbers = about.target === 'numbers';
  const x = pixels ? Float32Array.from(run.order, at => pixels[at] / 255) : prepared(sequence);
  const count = x.length / run.input_size;
  if (count < 1 || count > run.max_steps) throw new Error(`A sequence has from 1 to ${run.max_steps} steps here, got ${count}.`);
  program.put(x);
  const found = new Float32Array(program.taken(program.exports.trace(!isOfNumbers)));
  const rows = (from, width) => Array.from({ length: count }, (_, t) => Array.from(found.subarray(from + t * width, from + (t + 1) * width)));
  const width = about.outputs.length, behind = about.hidden ? count * (width + about.hidden_size) : count * width;
  const outputs = rows(0, width).map(isOfNumbers ? unscaled : softmax);
  checkFinite(outputs);
  const last = outputs[count - 1];
  return {
    model: about.name,
    names: about.outputs,
    prediction: isOfNumbers ? last : about.outputs[last.indexOf(Math.max(...last))],
    outputs,
    saliency: Array.from(found.subarray(behind)),
    ...(about.hidden && { hidden: rows(count * width, about.hidden_size) }),
    ...(pixels && { pixels }),
    ...(warning && about.digits && { warning }),
  };
}
function checkFinite(outputs) {
  const wrong = outputs.flat().find(value => !Number.isFinite(Math.fround(value)));
  if (wrong !== undefined) throw new Error(`The prediction is ${wrong}, not a finite number: give values like those of the training data.`);
}
// The rows of a forecast of rows: what the network says of the last window is the difference from the naive forecast.
async function forecastOf(rows) {
  const program = await (opened ||= open());
  const { forecast: { window, horizon }, features } = run.about, { scale } = run.preprocessor.scaler;
  checkValues(rows);
  const known = rows.slice(-window).map(row => row.map(value => value === null ? null : Math.fround(value)));
  if (known.length < window) throw new Error(`A forecast needs at least ${window} lines, and here are ${rows.length}.`);
  const unknown = features.findIndex((_, i) => known.every(row => row[i] === null));
  if (unknown >= 0) throw new Error(`The last ${window} lines lack all values of ${features[unknown]}.`);
  program.put(prepared(known));
  const found = new Float32Array(program.taken(program.exports.last()));
  const naive = naiveOf(known), width = features.length;
  const rowOf = t => features.map((_, i) => naive[t][i] + found[t * width + i] * scale[i]);
  const forecast = Array.from({ length: horizon }, (_, t) => rowOf(t));
  checkFinite(forecast);
  return forecast;
}
function softmax(logits) {
  const most = Math.max(...logits), terms = logits.map(value => Math.exp(value - most));
  const sum = terms.reduce((a, b) => a + b);
  return terms.map(term => term / sum);
}
const unscaled = values => values.map((value, i) => value * run.target_scaler.scale[i] + run.target_scaler.center[i]);

// The digit in a picture, as 28 x 28 pixels, by the code that reads files for `predict`.
function digit(program, picture) {
  program.put(picture.data);
  const len = program.exports.digit(picture.width, picture.height);
  if (!len) throw new Error('The picture shows no digit: all its pixels are nearly equal.');
  const found = program.taken(len);
  return { pixels: Array.from(new Uint8Array(found, 0, 784)), warning: new TextDecoder().decode(new Uint8Array(found, 784)) };
}

// Fails unless all values of lines are such as the network reads.
function checkValues(lines) {
  const { missing } = run.preprocessor, names = run.about.features;
  if (lines.some(line => line.length !== names.length)) throw new Error(`A line has ${names.length} values, one for each of ${names.join(', ')}.`);
  if (lines.flat().some(value => Math.abs(Math.fround(value)) === Infinity)) throw new Error('Values must be finite.');
  const unknown = lines.findIndex(line => line.includes(null));
  if (missing === 'refuse' && unknown >= 0) {
    throw new Error(`Line ${unknown + 1} lacks the value of ${names[lines[unknown].indexOf(null)]}, and this model knows no missing values.`);
  }
}
// What the network reads of the values of a sequence: missing ones filled in, then scaled.
function prepared(lines) {
  const { scaling, missing, missing_mask: mask, means, scaler } = run.preprocessor;
  checkValues(lines);
  const values = lines.map(line => line.map(value => value === null ? NaN : Math.fround(value)));
  const last = [...means];
  const filled = values.map(line => line.map((value, i) => last[i] =
    !Number.isNaN(value) ? value : missing === 'mean' ? means[i] : missing === 'forward-fill' ? last[i] : 0));
  const { center, scale } = scaling === 'per-sequence' ? ownScaler(filled) : scaler;
  return Float32Array.from(filled.flatMap((line, t) => [
    ...line.map((value, i) => (value - center[i]) / scale[i]),
    ...(mask ? values[t].map(value => Number(Number.isNaN(value))) : []),
  ]));
}
// Mean and standard deviation of each column (Welford, 1962); equal numbers are not scaled.
function ownScaler(lines) {
  const center = lines[0].map(() => 0), squares = [...center];
  lines.forEach((line, t) => line.forEach((value, i) => {
    const difference = value - center[i];
    center[i] += difference / (t + 1);
    squares[i] += difference * (value - center[i]);
  }));
  const scale = squares.map((square, i) => {
    const deviation = Math.sqrt(square / lines.length);
    return deviation > 1e-12 * Math.abs(center[i]) && deviation < Infinity && deviation > 0 ? deviation : 1;
  });
  return { center, scale };
}
