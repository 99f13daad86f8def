// --- forecasts -----------------------------------------------------------------------------------
let waiting = 0;                 // the timer of a forecast of what is being typed

// The naive forecast, `horizon` rows: each repeats the value of a season earlier; missing values are those before them.
function naiveOf(known) {
  const { horizon, season } = model.forecast;
  const filled = known.map(row => [...row]);
  for (let t = 1; t < filled.length; t++) filled[t].forEach((value, i) => { filled[t][i] = value ?? filled[t - 1][i]; });
  for (let t = filled.length - 2; t >= 0; t--) filled[t].forEach((value, i) => { filled[t][i] = value ?? filled[t + 1][i]; });
  const length = Math.min(season, filled.length);
  return Array.from({ length: horizon }, (_, step) => filled[filled.length - length + step % length]);
}

function beginForecasts() {
  const { window, season } = model.forecast;
  $('features').textContent += ` The forecast reads the last ${window} lines.`;
  $('naive-name').textContent = season > 1 ? `seasonal naive forecast: the value ${season} steps earlier` : 'naive forecast: the last value again';
}
function forgetForecast() {
  clearTimeout(waiting);
  $('forecast-says').textContent = '';
  $('forecast-plots').replaceChildren();
  $('forecast-numbers').replaceChildren();
  $('forecast-numbers').hidden = true;
}

async function foresee() {
  clearTimeout(waiting);
  const mine = ++asked;
  try {
    const rows = typed(), { window } = model.forecast;
    const wrong = rows.findIndex(row => row.length !== model.features.length);
    if (wrong >= 0) throw new Error(`Line ${wrong + 1} has ${rows[wrong].length} values, not one for each of ${model.features.join(', ')}.`);
    if (rows.length < window) throw new Error(`A forecast needs at least ${window} lines, and here are ${rows.length}.`);
    const forecast = await forecastOf(rows);
    if (mine !== asked) return;          // a later request has overtaken it
    $('trouble').textContent = '';
    showForecast(rows, forecast, naiveOf(rows.slice(-window)));
  } catch (error) { if (mine === asked) trouble(error); }
}

function showForecast(rows, forecast, naive) {
  const { features } = model, steps = forecast.length, end = forecast[steps - 1];
  // As much of what is known as is of use beside the forecast.
  const known = rows.slice(-Math.max(model.forecast.window, 2 * steps));
  $('forecast-plots').replaceChildren();
  features.slice(0, 12).forEach((name, i) => drawForecast(name, known.map(row => row[i]), forecast.map(row => row[i]), naive.map(row => row[i])));
  $('forecast-says').textContent = `${steps === 1 ? 'The next step' : `In ${steps} steps`}: ` +
    features.slice(0, 4).map((name, i) => `${name} ${number(end[i])}, naive forecast ${number(naive[steps - 1][i])}`).join('; ') + '.';
  const table = document.createElement('table'), head = table.createTHead().insertRow(), body = table.createTBody();
  const header = (row, text, scope) => {
    const cell = document.createElement('th');
    cell.textContent = text;
    cell.scope = scope;
    row.append(cell);
  };
  ['step', ...features.flatMap(name => [name, `${name}, naive`])].forEach(text => header(head, text, 'col'));
  forecast.forEach((row, t) => {
    const line = body.insertRow();
    header(line, `+${t + 1}`, 'row');
    row.forEach((value, i) => {
      line.insertCell().textContent = number(value);
      line.insertCell().textContent = number(naive[t][i]);
    });
  });
  $('forecast-numbers').replaceChildren(table);
  $('forecast-numbers').hidden = false;
}

// Known values, forecast and naive forecast of a feature; both forecasts begin at the last known value.
function drawForecast(name, known, forecast, naive) {
  // Wider where there is room, so that letters stay as large as they are.
  const right = $('forecast-plots').clientWidth > 560 ? 730 : 410;
  const picture = svg($('forecast-plots'), 'svg', { viewBox: `0 0 ${right + 10} 240`, role: 'img' });
  const values = [...known, ...forecast, ...naive].filter(value => value !== null);
  const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  const count = known.length + forecast.length;
  const x = t => 60 + (t + .5) * (right - 60) / count, y = value => 205 - 170 * (value - low) / (high - low || 1);
  const text = { fill: 'var(--muted)', 'font-size': 12 };
  for (const value of [low, (low + high) / 2, high]) {
    svg(picture, 'line', { x1: 60, x2: right, y1: y(value), y2: y(value), stroke: 'var(--line)' });
    svg(picture, 'text', { x: 55, y: y(value) + 4, 'text-anchor': 'end', ...text }, Number(value.toPrecision(3)));
  }
  const now = x(known.length - .5);
  svg(picture, 'line', { x1: now, x2: now, y1: 28, y2: 210, stroke: 'var(--ink)', 'stroke-dasharray': '3 3' });
  svg(picture, 'text', { x: 60, y: 228, ...text }, `${known.length} steps ago`);
  svg(picture, 'text', { x: now, y: 228, 'text-anchor': 'middle', ...text }, 'now');
  svg(picture, 'text', { x: right, y: 228, 'text-anchor': 'end', ...text }, `+${forecast.length}`);
  svg(picture, 'text', { x: 60, y: 20, fill: 'var(--ink)', 'font-size': 14 }, name);
  const last = known.findLastIndex(value => value !== null);
  const curve = (all, from, style) => {
    const at = t => all[t] === null ? '' : `${x(from + t).toFixed(1)},${y(all[t]).toFixed(1)}`;
    const d = all.map((_, t) => at(t) && `${t && at(t - 1) ? 'L' : 'M'}${at(t)}`).join('');
    svg(picture, 'path', { d, fill: 'none', 'stroke-linecap': 'round', ...style });
  };
  const onwards = all => last === known.length - 1 ? [known[last], ...all] : all;
  const from = last === known.length - 1 ? last : known.length;
  curve(known, 0, { stroke: 'var(--ink)', 'stroke-width': 2 });
  curve(onwards(naive), from, { class: 'naive', stroke: 'var(--warm)', 'stroke-width': 2, 'stroke-dasharray': '6 5' });
  curve(onwards(forecast), from, { class: 'forecast', stroke: 'var(--accent)', 'stroke-width': 3 });
  const end = forecast.length - 1;
  picture.setAttribute('aria-label', `${name}: ${known.length} known steps${last < 0 ? '' : `, the last ${number(known[last])}`}; the forecast ` +
    `goes from ${number(forecast[0])} to ${number(forecast[end])}, the naive forecast from ${number(naive[0])} to ${number(naive[end])}`);
}

// A wave of the size of the training data, to begin with.
$('wave').onclick = () => {
  const { window, season, means, scales } = model.forecast;
  const period = season > 1 ? season : Math.max(4, Math.round(window / 2));
  const row = t => model.features.map((_, i) => Number((means[i] + scales[i] * Math.sin(2 * Math.PI * t / period + i)).toPrecision(4)));
  $('sequence').value = Array.from({ length: Math.max(2 * window, 24) }, (_, t) => row(t).join(', ')).join('\n');
  foresee();
};
// A forecast of what is typed, once there is a pause.
$('sequence').oninput = () => {
  clearTimeout(waiting);
  if (isOfForecasts()) waiting = setTimeout(foresee, 400);
};
