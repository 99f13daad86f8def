'use strict';
const $ = id => document.getElementById(id);
const COLOURS = ['#4e79a7', '#e8862a', '#d9484a', '#3fa39c', '#4f9a45', '#c29a00', '#a56a97', '#e8688a', '#8f6a54', '#7d848e'];
const colour = i => COLOURS[i] || `hsl(${(i * 137.5) % 360} 55% 50%)`;
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const percent = p => `${(100 * p).toFixed(1)} %`;
// JSON has null for what is no finite number.
const number = value => value === null ? 'no number' : value.toPrecision(4);
let key = '', models = [], model = null, samples = [], trace = null, step = 0, timer = 0, asked = 0;
const isOfForecasts = () => model.forecast !== null;
let pixels = null;               // as the network saw them before rows were erased
const erased = new Set();

const trouble = error => { $('trouble').textContent = error.message; };

async function start() {
  try {
    models = (await ask('/v1/models')).models;
    $('trouble').textContent = '';
    $('key-form').hidden = true;
    if (models.some(m => m.digits)) samples = (await ask('/v1/samples')).samples;
  } catch (error) { return trouble(error); }
  $('model').replaceChildren(...models.map(m => new Option(m.name, m.name)));
  $('samples').replaceChildren(...samples.map(s => {
    const button = document.createElement('button');
    button.textContent = s.label;
    button.setAttribute('aria-label', `Sample of a ${s.label}`);
    button.onclick = () => { wipe(); show(s.pixels); };
    return button;
  }));
  choose(models[0]);
}

function choose(chosen) {
  model = chosen;
  const part = isOfForecasts() ? 'forecasts' : model.kind;
  for (const element of document.querySelectorAll('[data-for]')) element.hidden = !element.dataset.for.split(' ').includes(part);
  $('about').textContent = about();
  $('grid').className = `grid ${part}`;
  $('sample-box').hidden = !model.digits;
  if (!model.hidden) $('heat-box').hidden = true;
  $('trouble').textContent = '';
  $('features').textContent = `Values of a line: ${model.features.join(', ')}. An empty value is missing.`;
  $('sequence').value = '';
  $('read').textContent = isOfForecasts() ? 'Forecast' : 'Read it';
  $('sequence-label').textContent = isOfForecasts()
    ? 'A series: a line a step, values separated by commas' : 'A sequence: a line a step, values separated by commas';
  if (isOfForecasts()) beginForecasts();
  if (model.kind === 'texts') beginText();
  wipe();
  forget();
}

// What a model is, in a sentence or two.
function about() {
  const network = `${model.cell}, ${model.num_layers} x ${model.hidden_size} units${model.bidirectional ? ', both directions' : ''}`;
  if (model.kind === 'texts') return `${network}; continues texts of ${model.outputs.length} different characters.`;
  const features = `${model.features.length} feature${model.features.length === 1 ? '' : 's'}`;
  if (isOfForecasts()) {
    const { window, horizon } = model.forecast;
    return `${network}; forecasts ${horizon} step${horizon === 1 ? '' : 's'} of ${features} from the last ${window}.`;
  }
  const image = { rows: '28 rows of 28 pixels', columns: '28 columns of 28 pixels' }[model.view] ?? '784 pixels, one a step';
  return `${network}; predicts ${model.outputs.length} ${model.target === 'numbers' ? 'numbers' : 'classes'} from ` +
    `${model.kind === 'images' ? image : `${features} a step`}.` +
    `${model.hidden ? '' : ' It reads each beginning of the sequence by itself.'}`;
}

function forget() {
  trace = pixels = null;
  erased.clear();
  stop();
  forgetForecast();
  forgetText();
  asked++;
  for (const id of ['step', 'play', 'erase', 'restore']) $(id).disabled = true;
  $('bars').replaceChildren();
  $('says').textContent = $('belief-when').textContent = '';
  for (const id of ['curves', 'saliency', 'inputs']) $(id).replaceChildren();
  for (const id of ['heat', 'seen']) $(id).getContext('2d').clearRect(0, 0, $(id).width, $(id).height);
}

async function request(body, plays) {
  const mine = ++asked;
  try {
    const found = await ask('/v1/steps', { model: model.name, ...body });
    if (mine !== asked) return;          // a later request has overtaken it
    trace = found;
    $('trouble').textContent = found.warning ? `Warning: ${found.warning}` : '';
    if (!erased.size && found.pixels) pixels = found.pixels;
    const steps = trace.outputs.length;
    $('step').max = steps;
    for (const id of ['step', 'play']) $(id).disabled = false;
    const isClass = model.target === 'class' || model.target === 'step-class';
    drawCurves($('curves'), trace.outputs, trace.names, isClass);
    drawHeat();
    if (body.sequence) {
      drawCurves($('inputs'), body.sequence, model.features, false);
      drawSaliency();
    }
    if (plays && !calm.matches) play(); else move(steps);
  } catch (error) { if (mine === asked) trouble(error); }
}
const show = image => { erased.clear(); pixels = image; request({ pixels: image }, true); };

