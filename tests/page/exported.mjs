// exported.mjs MODULES PROGRAM FOLDER URL SHOTS: compares the pages FOLDER/*.html, opened from disk, with the server at URL
// and with `predict`, and has axe-core look at them; scripts/check-html.sh runs it. MODULES has those of package.json.
// Screenshots are written to SHOTS.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import assert from 'node:assert/strict';
import { fits, LOOKS, openBrowser, openPage } from './browser.mjs';

const [modules, program, folder, base, shots] = process.argv.slice(2);
const url = base.replace(/\/$/, '');
const TOLERANCE = 1e-5;

async function served(path, body) {
  const answer = await fetch(url + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  return { status: answer.status, content: await answer.json() };
}

let largest = 0;
// Numbers may differ by 1e-5, relative to those above 1; everything else must be equal.
function compare(found, expected, what) {
  if (typeof expected === 'number') {
    const off = Math.abs(found - expected) / Math.max(1, Math.abs(expected));
    largest = Math.max(largest, off);
    assert.ok(off <= TOLERANCE, `${what}: ${found} instead of ${expected}`);
  } else if (Array.isArray(expected)) {
    assert.equal(found.length, expected.length, `${what}: length`);
    expected.forEach((value, i) => compare(found[i], value, `${what}[${i}]`));
  } else assert.deepEqual(found, expected, what);
}

const { browser, accessible } = await openBrowser(modules);
const isFromHere = place => place.startsWith('file:');
const { page, trouble } = await openPage(browser, { scheme: 'light', size: 'desktop' }, isFromHere, { reducedMotion: 'reduce' });
const asked = body => page.evaluate(body => ask('/v1/steps', body), body);

async function same(name, body) {
  const { status, content } = await served('/v1/steps', { model: name, ...body });
  assert.equal(status, 200, JSON.stringify(content));
  const found = await asked(body);
  assert.deepEqual(Object.keys(found).sort(), Object.keys(content).sort(), name);
  for (const key of Object.keys(content)) compare(found[key], content[key], `${name}: ${key}`);
  return found;
}

// Draws a 7 with the mouse, as a person would.
async function draw(page) {
  const box = await page.locator('#draw').boundingBox();
  const to = (x, y) => page.mouse.move(box.x + x * box.width, box.y + y * box.height, { steps: 12 });
  await to(.28, .24);
  await page.mouse.down();
  await to(.72, .25);
  await to(.45, .82);
  await page.mouse.up();
  await page.waitForFunction(() => trace && !timer && $('says').textContent);
}

const { samples } = await (await fetch(`${url}/v1/samples`)).json();
const sequences = csv => {
  const rows = readFileSync(`${folder}/${csv}.csv`, 'utf8').trim().split('\n').slice(1).map(line => line.split(','));
  const of = id => rows.filter(row => row[0] === id).map(row => row.slice(2, 4).map(cell => cell === '' ? null : Number(cell)));
  return ['1', '2', '5'].map(of);
};

// The forecast of a page and of the server, of series whole and cut short.
async function sameForecasts(name) {
  const csv = name === 'series' ? 'series' : 'holes';
  const rows = readFileSync(`${folder}/${csv}.csv`, 'utf8').trim().split('\n').slice(1)
    .map(line => line.split(',').slice(1).map(cell => cell === '' ? null : Number(cell)));
  const infer = data => served(`/v2/models/${name}/infer`, { inputs: [{ name: 'sequence', datatype: 'FP32', shape: [1, data.length, 2], data: [data] }] });
  for (const data of [rows, rows.slice(0, 60), rows.slice(7, 31), rows.map(row => row.map(value => value && 3 * value - 50))]) {
    const { status, content } = await infer(data);
    assert.equal(status, 200, JSON.stringify(content));
    const found = await page.evaluate(data => forecastOf(data), data);
    compare(found.flat(), content.outputs[0].data, `${name}: forecast`);
  }
  for (const data of [rows.slice(0, 19), [[1]], [...rows, [1e300, 0]], rows.map(row => [row[0], null])]) {
    assert.equal((await infer(data)).status >= 400, true, JSON.stringify(data));
    await assert.rejects(page.evaluate(data => forecastOf(data), data), undefined, `${name}: ${JSON.stringify(data)}`);
  }
  await page.getByRole('button', { name: 'Fill in a wave' }).click();
  await page.waitForFunction(() => $('forecast-says').textContent);
}

const pages = readdirSync(folder).filter(name => name.endsWith('.html')).map(name => name.slice(0, -5));
assert.ok(pages.length >= 12, `pages: ${pages}`);
for (const name of pages) {
  await page.goto(`file://${folder}/${name}.html`);
  await page.waitForFunction(() => models.length > 0);
  const { kind, forecast } = await page.evaluate(() => model);
  if (kind === 'images') {
    for (const { pixels } of samples.slice(0, 5)) await same(name, { pixels });
    await draw(page);
    const drawn = await page.evaluate(() => [trace, pad.toDataURL('image/png')]);
    const png = drawn[1].split(',')[1];
    writeFileSync(`${folder}/drawn.png`, Buffer.from(png, 'base64'));
    const { content } = await served('/v1/steps', { model: name, picture: drawn[1] });
    assert.ok(content.pixels.some(value => value > 200), 'something is drawn');
    for (const key of Object.keys(content)) compare(drawn[0][key], content[key], `${name}, drawn: ${key}`);
    const said = execFileSync(program, ['predict', `${folder}/${name}`, `${folder}/drawn.png`, '--json'], { encoding: 'utf8' });
    compare(drawn[0].outputs.at(-1), JSON.parse(said).probabilities, `${name}, predict of the drawing`);
    // The smallest and a coloured picture: the same bytes as the server makes of a file.
    await assert.rejects(page.evaluate(() => ask('/v1/steps', drawn(Object.assign(document.createElement('canvas'), { width: 9, height: 9 })))), /no digit/);
    if (name === 'tanh') {
      await page.getByRole('button', { name: 'Sample of a 3' }).click();
      await page.locator('#erase').click();
      await page.waitForFunction(() => erased.size === 1 && $('says').textContent.includes('erased'));
    }
  } else if (forecast) {
    await sameForecasts(name);
  } else {
    for (const sequence of sequences(name === 'stack' ? 'whole' : 'gaps')) await same(name, { sequence });
    const wrong = [[[1]], [[1, 2, 3]], [[1e300, 0]], []];
    if (name === 'stack') wrong.push([[1, null]]);
    for (const sequence of wrong) {
      assert.equal((await served('/v1/steps', { model: name, sequence })).status, 422, JSON.stringify(sequence));
      await assert.rejects(asked({ sequence }), undefined, `${name}: ${JSON.stringify(sequence)}`);
    }
    await page.locator('#sequence').fill('1,2\n2,3\n0.5,-1\n0,0');
    await page.locator('#read').click();
    await page.waitForFunction(() => trace && $('says').textContent);
  }
  assert.deepEqual(trouble, [], name);
  console.log(`${name}: as the server says`);
}

// The pages of images, of sequences and of forecasts as people see them.
mkdirSync(shots, { recursive: true });
for (const { name: look, ...device } of LOOKS) {
  for (const name of ['tanh', 'stack', 'series']) {
    const { page, context, trouble } = await openPage(browser, device, isFromHere, { reducedMotion: 'reduce' });
    await page.goto(`file://${folder}/${name}.html`);
    await page.waitForFunction(() => models.length > 0);
    await accessible(page, `${name}, ${look}, at first`);
    if (name === 'tanh') await draw(page);
    if (name === 'stack') {
      await page.locator('#sequence').fill('1,2\n2,3\n0.5,-1\n0,0');
      await page.locator('#read').click();
      await page.waitForFunction(() => trace && $('says').textContent);
    }
    if (name === 'series') {
      await page.locator('#wave').click();
      await page.waitForFunction(() => $('forecast-says').textContent);
    }
    await accessible(page, `${name}, ${look}`);
    await fits(page, `${name}, ${look}`);
    await page.screenshot({ path: `${shots}/${name}-${look}.png`, fullPage: true });
    assert.deepEqual(trouble, [], `${name}, ${look}`);
    await context.close();
  }
  console.log(`${look}: axe-core finds nothing`);
}
await browser.close();
console.log(`${pages.length} pages, largest difference ${largest.toExponential(1)}`);
