// --- pictures ------------------------------------------------------------------------------------
const style = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function svg(parent, name, attributes, text) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}
function drawCurves(picture, all, names, isClass) {
  const steps = all.length, known = all.flat().filter(value => value !== null);
  const low = isClass ? 0 : known.reduce((a, b) => Math.min(a, b), known[0] ?? 0), high = isClass ? 1 : known.reduce((a, b) => Math.max(a, b), known[0] ?? 0);
  const x = t => 34 + (t + .5) * 376 / steps, y = value => 215 - 200 * (value - low) / (high - low || 1);
  picture.replaceChildren();
  const line = { stroke: 'var(--line)', 'stroke-width': 1 };
  const text = { fill: 'var(--muted)', 'font-size': 11 };
  for (const value of [low, (low + high) / 2, high]) {
    svg(picture, 'line', { x1: 34, x2: 410, y1: y(value), y2: y(value), ...line });
    svg(picture, 'text', { x: 30, y: y(value) + 4, 'text-anchor': 'end', ...text }, Number(value.toPrecision(2)));
  }
  svg(picture, 'text', { x: 34, y: 232, ...text }, 'step 1');
  svg(picture, 'text', { x: 410, y: 232, 'text-anchor': 'end', ...text }, `step ${steps}`);
  svg(picture, 'line', { class: 'now', x1: 34, x2: 34, y1: 12, y2: 218, stroke: 'var(--ink)', 'stroke-dasharray': '3 3' });
  names.slice(0, 40).forEach((name, i) => {
    const at = t => all[t][i] === null ? '' : `${x(t).toFixed(1)},${y(all[t][i]).toFixed(1)}`;
    // A missing value is a gap; a single known one between two gaps is a dot.
    const d = all.map((_, t) => at(t) && `${t && at(t - 1) ? 'L' : 'M'}${at(t)}${(t && at(t - 1)) || (t + 1 < steps && at(t + 1)) ? '' : 'h.1'}`).join('');
    const curve = svg(picture, 'path', { d, fill: 'none', stroke: colour(i), 'stroke-width': 2, 'stroke-linecap': 'round' });
    svg(curve, 'title', {}, name);
    // Only curves that matter get their name: the others lie on top of each other.
    const top = all.reduce((best, row, t) => (row[i] ?? -Infinity) > (all[best][i] ?? -Infinity) ? t : best, 0);
    if (all[top][i] === null || (isClass && all[top][i] <= .3)) return;
    svg(picture, 'text', { x: Math.min(x(top), 406), y: Math.max(11, y(all[top][i]) - 4), fill: 'var(--ink)', 'font-size': 12, 'text-anchor': x(top) > 370 ? 'end' : 'middle' }, name);
  });
  const end = all[steps - 1], best = end.indexOf(Math.max(...end));
  picture.setAttribute('aria-label', isClass
    ? `Probability of ${names.length} classes over ${steps} steps; at the end ${names[best]} with ${percent(end[best])}`
    : `${names.slice(0, 40).join(', ')} over ${steps} steps`);
}
function drawSaliency() {
  const picture = $('saliency'), most = Math.max(...trace.saliency, 1e-12), width = 376 / trace.saliency.length;
  picture.replaceChildren();
  trace.saliency.forEach((value, t) => {
    const height = 200 * value / most;
    svg(picture, 'rect', { x: 34 + (t + .075) * width, width: Math.max(width * .85, .5), y: 215 - height, height, fill: 'var(--warm)' });
  });
  const text = { y: 232, fill: 'var(--muted)', 'font-size': 11 };
  svg(picture, 'text', { x: 34, ...text }, 'step 1');
  svg(picture, 'text', { x: 410, 'text-anchor': 'end', ...text }, `step ${trace.saliency.length}`);
  svg(picture, 'line', { class: 'now', x1: 34, x2: 34, y1: 12, y2: 218, stroke: 'var(--ink)', 'stroke-dasharray': '3 3' });
  picture.setAttribute('aria-label', `Saliency of ${trace.saliency.length} steps, the largest at step ${trace.saliency.indexOf(Math.max(...trace.saliency)) + 1}`);
}
function drawSeen() {
  if (model.kind !== 'images' || !trace.pixels) return;
  const canvas = $('seen'), context = canvas.getContext('2d');
  context.fillStyle = '#000';
  context.fillRect(0, 0, 308, 280);
  trace.pixels.forEach((value, i) => {
    const line = isOfColumns() ? i % 28 : Math.floor(i / 28);
    const isRead = !hasLines() || line < step;
    context.fillStyle = `rgb(${value} ${value} ${isRead ? value : Math.round(value * .55 + 60)})`;
    context.globalAlpha = isRead ? 1 : .45;
    context.fillRect(i % 28 * 10, Math.floor(i / 28) * 10, 10, 10);
  });
  context.globalAlpha = 1;
  if (hasLines()) {
    const most = Math.max(...trace.saliency, 1e-12);
    context.fillStyle = '#f0a060';
    // Of columns the strip would lie below: it is drawn beside them, from the first to the last.
    trace.saliency.forEach((value, t) => context.fillRect(284, t * 10 + 1, 22 * value / most, 8));
    context.fillStyle = '#ff5d5d';
    for (const line of erased) isOfColumns() ? context.fillRect(line * 10 + 4, 0, 2, 280) : context.fillRect(0, line * 10 + 4, 280, 2);
    context.strokeStyle = '#78b7ff';
    context.lineWidth = 2;
    isOfColumns() ? context.strokeRect((step - 1) * 10, 1, 10, 278) : context.strokeRect(1, (step - 1) * 10, 278, 10);
  }
  const ink = trace.pixels.filter(value => value > 60).length;
  const place = trace.saliency.indexOf(Math.max(...trace.saliency)) + 1;
  canvas.setAttribute('aria-label', `28 by 28 pixels, ${ink} of them inked; the answer depends most on step ${place}`);
}
function drawHeat() {
  if (!trace.hidden) return;
  const canvas = $('heat'), rows = trace.hidden, width = rows[0].length;
  const rgb = name => { const hex = style(name); return [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16)); };
  const paper = rgb('--paper'), cold = rgb('--cold'), warm = rgb('--warm'), now = rgb('--ink');
  // Left of the units is a strip for the mark of the present step.
  const wide = Math.ceil(60 / width), strip = Math.round(width * wide / 60);
  canvas.width = strip + width * wide;
  canvas.height = rows.length;
  const context = canvas.getContext('2d'), image = context.createImageData(canvas.width, rows.length);
  let most = 1e-9;
  for (const row of rows) for (const value of row) most = Math.max(most, Math.abs(value));
  rows.forEach((row, t) => row.forEach((value, unit) => {
    const part = Math.abs(value) / most, end = value < 0 ? cold : warm;
    const fade = t < step ? 1 : .25, from = 4 * (t * canvas.width + strip + unit * wide);
    for (let at = from; at < from + 4 * wide; at += 4) {
      for (let c = 0; c < 3; c++) image.data[at + c] = paper[c] + (end[c] - paper[c]) * part * fade;
      image.data[at + 3] = 255;
    }
  }));
  context.putImageData(image, 0, 0);
  context.fillStyle = `rgb(${now})`;
  context.fillRect(0, step - 1, strip, 1);
  canvas.setAttribute('aria-label', `Hidden state of ${width} units over ${rows.length} steps`);
}
matchMedia('(prefers-color-scheme: dark)').onchange = () => { if (trace) drawHeat(); };
