// --- rows ----------------------------------------------------------------------------------------
const isOfColumns = () => model.view === 'columns';
const hasLines = () => model.view === 'rows' || model.view === 'columns';
const index = (line, i) => isOfColumns() ? i * 28 + line : line * 28 + i;
$('erase').onclick = () => {
  erased.add(step - 1);
  const image = pixels.slice();
  for (const line of erased) for (let i = 0; i < 28; i++) image[index(line, i)] = 0;
  request({ pixels: image }, false);
};
$('restore').onclick = () => { erased.clear(); request({ pixels }, false); };

// --- time ----------------------------------------------------------------------------------------
function stop() { clearInterval(timer); timer = 0; $('play').textContent = 'Play'; }
function play() {
  stop();
  const steps = trace.outputs.length;
  let now = 0;
  $('play').textContent = 'Stop';
  timer = setInterval(() => {
    now += Math.max(1, Math.round(steps / 60));
    if (now >= steps) { now = steps; stop(); }
    move(now);
  }, 45);
}
$('play').onclick = () => timer ? stop() : play();
$('step').oninput = () => { stop(); move(Number($('step').value)); };
$('model').onchange = () => choose(models[$('model').selectedIndex]);
$('key-form').onsubmit = event => { event.preventDefault(); key = $('key').value; start(); };
// The values of the lines that were typed: numbers, and null for what is missing.
function typed() {
  const lines = $('sequence').value.split('\n').map(line => line.trim()).filter(line => line);
  const rows = lines.map(line => line.split(/[,;\t]/).map(cell => cell.trim() === '' ? null : Number(cell)));
  const wrong = rows.findIndex(row => row.some(Number.isNaN));
  if (!rows.length) throw new Error('There is no line yet.');
  if (wrong >= 0) throw new Error(`Line ${wrong + 1} has something that is no number.`);
  return rows;
}
$('read').onclick = () => {
  if (isOfForecasts()) return foresee();
  try { request({ sequence: typed() }, true); } catch (error) { trouble(error); }
};

function move(to) {
  step = to;
  $('step').value = to;
  const isClass = model.target === 'class' || model.target === 'step-class';
  const steps = trace.outputs.length, now = trace.outputs[to - 1];
  $('step-text').textContent = `${to} of ${steps}`;
  $('step').setAttribute('aria-valuetext', `step ${to} of ${steps}`);
  $('belief-when').textContent = `after step ${to}`;
  const best = now.indexOf(Math.max(...now)), most = Math.max(...now.map(Math.abs), 1e-9);
  const shown = now.map((value, i) => [value, i]);
  if (now.length > 12) shown.sort((a, b) => b[0] - a[0]).length = 12;
  const bars = $('bars');
  if (bars.children.length !== shown.length || now.length > 12) bars.replaceChildren(...shown.map(() => {
    const item = document.createElement('li');
    item.innerHTML = '<span></span><div class="track"><div class="fill"></div></div><span class="value"></span>';
    return item;
  }));
  shown.forEach(([value, i], at) => {
    const [name, track, text] = bars.children[at].children;
    name.textContent = trace.names[i];
    track.firstChild.style.width = `${100 * (isClass ? value : Math.abs(value) / most)}%`;
    track.firstChild.style.background = colour(i);
    text.textContent = isClass ? percent(value) : number(value);
    bars.children[at].className = isClass && i === best ? 'best' : '';
  });
  // Said once it has been read, not at every step of a play.
  if (!timer) $('says').textContent = isClass
    ? `${to === steps ? 'It reads' : `After step ${to} it reads`} ${trace.names[best]}, ${percent(now[best])}${erased.size ? `, with ${erased.size} erased` : ''}.`
    : trace.names.map((name, i) => `${name}: ${number(now[i])}`).slice(0, 4).join(', ');
  for (const line of document.querySelectorAll('.now')) {
    const x = 34 + (to - .5) * 376 / steps;
    line.setAttribute('x1', x);
    line.setAttribute('x2', x);
  }
  drawSeen();
  drawHeat();
  if (model.kind === 'images') {
    const word = isOfColumns() ? 'column' : 'row';
    $('erase').textContent = `Erase ${word} ${to}`;
    $('erase').disabled = !pixels || !hasLines() || erased.has(to - 1);
    $('restore').disabled = !erased.size;
  }
}

