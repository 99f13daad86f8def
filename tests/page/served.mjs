// served.mjs MODULES URL SHOTS: the page in headless Chromium; scripts/check-page.sh runs it.
//
// MODULES has those of package.json; at URL the runs `digits`, of images, `lines`, whose classes are those of rising and
// falling sequences, `series`, which forecasts 8 steps of two features, and `words`, of a text, are served. Screenshots
// are written to SHOTS.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import assert from 'node:assert/strict';
import { fits, LOOKS, openBrowser, openPage } from './browser.mjs';

const [modules, url, shots] = process.argv.slice(2);

// Digits as strokes on the drawing area, whose side is 1.
const DIGITS = {
  0: [[[.5, .18], [.36, .24], [.3, .4], [.3, .6], [.36, .76], [.5, .82], [.64, .76], [.7, .6], [.7, .4], [.64, .24], [.5, .18]]],
  1: [[[.52, .18], [.5, .5], [.48, .82]]],
  3: [[[.34, .24], [.5, .18], [.66, .26], [.64, .4], [.48, .48], [.66, .56], [.68, .72], [.52, .82], [.34, .76]]],
  7: [[[.28, .22], [.72, .22], [.6, .5], [.48, .82]]],
};

const text = (page, id) => page.locator(`#${id}`).textContent();
const bars = page => page.locator('#bars .value').allTextContents();
const label = (page, id) => page.locator(`#${id}`).getAttribute('aria-label');

// Does something that the network answers, and waits until the answer was played to its end and says what it must.
async function answered(page, act, says) {
  await page.evaluate(() => { document.getElementById('says').textContent = ''; });
  await act();
  const isThere = ([source, flags]) => {
    const step = document.getElementById('step'), text = document.getElementById('says').textContent;
    return document.getElementById('play').textContent === 'Play' && !step.disabled && step.value === step.max &&
      new RegExp(source, flags).test(text);
  };
  await page.waitForFunction(isThere, [says.source, says.flags], { timeout: 15_000 }).catch(async error => {
    assert.match(await text(page, 'says'), says, `${await text(page, 'trouble')} ${error.message}`);
    throw error;
  });
}

// Draws strokes with a finger: touches as Chromium has them of a screen, which the page must not scroll by.
async function touch(page, strokes) {
  await page.locator('#clear').tap();
  await page.locator('#draw').scrollIntoViewIfNeeded();
  const box = await page.locator('#draw').boundingBox();
  const protocol = await page.context().newCDPSession(page);
  const send = (type, ...points) => protocol.send('Input.dispatchTouchEvent', {
    type, touchPoints: points.map(([x, y]) => ({ x, y, radiusX: 12, radiusY: 12, force: .5, id: 0 })),
  });
  // A browser that scrolls to keep in place what is seen, when a line above it grows, moves nothing under the finger.
  const places = async () => [await page.evaluate(() => scrollY), Math.round((await page.locator('#draw').boundingBox()).y)];
  const before = await places();
  for (const stroke of strokes) {
    const [first, ...rest] = stroke.map(([x, y]) => [box.x + x * box.width, box.y + y * box.height]);
    await send('touchStart', first);
    let last = first;
    for (const point of rest) {
      // Fingers move by pixels, not from corner to corner.
      for (const part of [.25, .5, .75, 1]) await send('touchMove', last.map((from, n) => from + part * (point[n] - from)));
      last = point;
    }
    await send('touchEnd');
  }
  const after = await places();
  const stayed = after.some((place, n) => place === before[n]);
  assert.ok(stayed, `the page scrolled under the finger: ${before} before, ${after} after`);
  await protocol.detach();
}

// Digits drawn with a finger are read as with the mouse.
async function fingers(page) {
  await page.evaluate(() => {
    window.kinds = new Set();
    document.getElementById('draw').addEventListener('pointermove', event => window.kinds.add(event.pointerType));
  });
  for (const digit of [7, 3]) {
    await answered(page, () => touch(page, DIGITS[digit]), new RegExp(`^It reads ${digit},`));
  }
  assert.deepEqual(await page.evaluate(() => [...window.kinds]), ['touch']);
}

// Draws strokes with the mouse.
async function draw(page, strokes) {
  await page.locator('#clear').click();
  const box = await page.locator('#draw').boundingBox();
  for (const stroke of strokes) {
    const [first, ...rest] = stroke.map(([x, y]) => [box.x + x * box.width, box.y + y * box.height]);
    await page.mouse.move(...first);
    await page.mouse.down();
    for (const point of rest) await page.mouse.move(...point, { steps: 4 });
    await page.mouse.up();
  }
}

async function digits(page) {
  for (const [digit, strokes] of Object.entries(DIGITS)) {
    await answered(page, () => draw(page, strokes), new RegExp(`^It reads ${digit},`));
  }
  for (const digit of ['4', '2']) {
    const button = page.getByRole('button', { name: `Sample of a ${digit}` });
    await answered(page, () => button.click(), new RegExp(`^It reads ${digit},`));
  }
  assert.equal(await page.locator('#bars li').count(), 10);
  assert.match(await label(page, 'curves'), /10 classes over 28 steps; at the end 2/);
  assert.match(await label(page, 'heat'), /units over 28 steps/);
  assert.match(await label(page, 'seen'), /28 by 28 pixels, [1-9]\d* of them inked/);
}

// The cursor of rows goes back with the keyboard, and shows what was believed then.
async function cursor(page) {
  const end = await bars(page);
  await page.locator('#step').focus();
  for (let n = 0; n < 18; n++) await page.keyboard.press('ArrowLeft');
  assert.equal(await text(page, 'step-text'), '10 of 28');
  assert.equal(await text(page, 'belief-when'), 'after step 10');
  assert.match(await text(page, 'says'), /^After step 10 it reads/);
  assert.notDeepEqual(await bars(page), end);
  await page.keyboard.press('End');
  assert.deepEqual(await bars(page), end);
}

async function erase(page) {
  const whole = await bars(page);
  await page.locator('#step').fill('14');
  assert.equal(await text(page, 'erase'), 'Erase row 14');
  await answered(page, () => page.locator('#erase').click(), /with 1 erased/);
  assert.notDeepEqual(await bars(page), whole);
  await answered(page, () => page.locator('#restore').click(), /^It reads \d, [\d.]+ %\.$/);
  assert.deepEqual(await bars(page), whole);
  assert.equal(await page.locator('#restore').isDisabled(), true);
}

// A one, drawn with the keyboard alone.
async function keyboard(page) {
  await page.locator('#clear').focus();
  await page.keyboard.press('Enter');
  await page.keyboard.press('Shift+Tab');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'draw');
  await answered(page, async () => {
    await page.keyboard.press(' ');
    for (let n = 0; n < 20; n++) await page.keyboard.press('ArrowDown');
    await page.keyboard.press(' ');
  }, /^It reads 1,/);
  assert.match(await label(page, 'draw'), /pen up at/);
}

async function sequences(page) {
  await page.locator('#model').selectOption('lines');
  await page.locator('#sequence').fill('no number');
  await page.locator('#read').click();
  assert.match(await text(page, 'trouble'), /Line 1 has something that is no number/);
  for (const [name, slope] of [['up', .125], ['down', -.125]]) {
    const values = Array.from({ length: 16 }, (_, t) => (slope * t).toFixed(3));
    await page.locator('#sequence').fill(values.join('\n'));
    await answered(page, () => page.locator('#read').click(), new RegExp(`^It reads ${name},`));
    assert.equal(await text(page, 'trouble'), '');
  }
  assert.match(await label(page, 'curves'), /2 classes over 16 steps; at the end down/);
  assert.match(await label(page, 'saliency'), /16 steps/);
  assert.match(await label(page, 'inputs'), /over 16 steps/);
  assert.equal(await page.locator('#curves path').count(), 2);
  assert.equal(await page.locator('#image-input').isHidden(), true);
}

// A wave is filled in, changed, and made too short.
async function forecasts(page) {
  await page.locator('#model').selectOption('series');
  assert.equal(await page.locator('#curves').isHidden() && await page.locator('#image-input').isHidden(), true);
  await page.getByRole('button', { name: 'Fill in a wave' }).click();
  const says = async pattern => {
    const isThere = source => new RegExp(source).test(document.getElementById('forecast-says').textContent);
    await page.waitForFunction(isThere, pattern.source, { timeout: 15_000 }).catch(async error => {
      assert.match(await text(page, 'forecast-says'), pattern, `${await text(page, 'trouble')} ${error.message}`);
      throw error;
    });
  };
  await says(/^In 8 steps: level -?[\d.]+, naive forecast -?[\d.]+; tide/);
  assert.equal(await page.locator('#forecast-plots svg').count(), 2);
  assert.equal(await page.locator('#forecast-plots path').count(), 6);
  assert.match(await page.locator('#forecast-plots svg').first().getAttribute('aria-label'), /^level: 24 known steps, .* the naive forecast/);
  assert.equal(await page.locator('#forecast-numbers tbody tr').count(), 8);
  assert.match(await text(page, 'naive-name'), /seasonal naive forecast: the value 12 steps earlier/);
  // Whoever types sees the forecast change, without a press of the button.
  const first = await text(page, 'forecast-says');
  const lines = (await page.locator('#sequence').inputValue()).split('\n');
  await page.locator('#sequence').fill([...lines.slice(0, -1), '1000, 1'].join('\n'));
  await page.waitForFunction(before => document.getElementById('forecast-says').textContent !== before, first);
  await page.locator('#sequence').fill(lines.slice(0, 5).join('\n'));
  await page.waitForFunction(() => /at least 24 lines, and here are 5/.test(document.getElementById('trouble').textContent));
  await page.locator('#sequence').fill(lines.map(line => line.split(',')[0]).join('\n'));
  await page.waitForFunction(() => /Line 1 has 1 values/.test(document.getElementById('trouble').textContent));
  await page.locator('#sequence').fill(lines.join('\n'));
  await page.locator('#read').click();
  await page.waitForFunction(before => document.getElementById('forecast-says').textContent === before, first);
  assert.equal(await text(page, 'trouble'), '');
}

// A prompt is continued, the same way again, stopped, and refused.
async function texts(page) {
  await page.locator('#model').selectOption('words');
  const ends = async pattern => {
    const isThere = source => new RegExp(source).test(document.getElementById('written-says').textContent);
    await page.waitForFunction(isThere, pattern.source, { timeout: 15_000 }).catch(async error => {
      assert.match(await text(page, 'written-says'), pattern, `${await text(page, 'trouble')} ${error.message}`);
      throw error;
    });
  };
  await page.locator('#prompt').fill('to be or ');
  await page.locator('#length').fill('200');
  await page.locator('#temperature').fill('0.5');
  assert.equal(await text(page, 'temperature-text'), '0.50');
  await page.locator('#write').click();
  await ends(/^200 characters written\. Your prompt: [\d.]+ bits per character\.$/);
  const first = await text(page, 'written');
  assert.ok(first.startsWith('to be or ') && first.length === 209, first);
  await page.locator('#write').click();
  await ends(/^200 characters/);
  assert.equal(await text(page, 'written'), first);
  await page.locator('#adopt').click();
  assert.equal(await page.locator('#prompt').inputValue(), first);
  await page.locator('#length').fill('60000');
  // In the page, which is as fast as the text.
  await page.evaluate(() => {
    const written = document.getElementById('written');
    const observer = new MutationObserver(() => {
      if (written.textContent.length <= 260) return;
      observer.disconnect();
      document.getElementById('halt').click();
    });
    observer.observe(written, { childList: true, subtree: true, characterData: true });
  });
  await page.locator('#write').click();
  await ends(/^Stopped: \d+ characters written\.$/);
  await page.locator('#prompt').fill('Z!');
  await page.locator('#write').click();
  await page.waitForFunction(() => document.getElementById('trouble').textContent.includes('Z'));
  assert.equal(await page.locator('#halt').isDisabled(), true);
  await page.locator('#prompt').fill('to be');
  await page.locator('#length').fill('300');
  await page.locator('#write').click();
  await ends(/^300 characters/);
  assert.equal(await text(page, 'trouble'), '');
}

async function look({ browser, accessible }, { name, ...device }) {
  const { page, context, trouble } = await openPage(browser, device, place => place.startsWith(url));
  await page.goto(url);
  await page.waitForFunction(() => document.getElementById('samples').children.length === 10);
  await accessible(page, `${name}, at first`);
  await digits(page);
  await cursor(page);
  await erase(page);
  await keyboard(page);
  if (device.size === 'phone') await fingers(page);
  for (const [what, act] of [['digit', null], ['sequence', sequences], ['forecast', forecasts], ['text', texts]]) {
    if (act) await act(page);
    await accessible(page, `${name}, ${what}`);
    await fits(page, `${name}, ${what}`);
    await page.screenshot({ path: join(shots, `${name}-${what}.png`), fullPage: true });
  }
  // What the server refused is in the console.
  assert.deepEqual(trouble.filter(line => !line.includes('status of 422')), []);
  await context.close();
  console.log(`${name}: right, and axe-core finds nothing`);
}

// Who does not want motion sees the end at once; others see the rows one by one.
async function motion(browser) {
  for (const [reducedMotion, plays] of [['reduce', false], ['no-preference', true]]) {
    const context = await browser.newContext({ reducedMotion });
    const page = await context.newPage();
    await page.goto(url);
    await page.evaluate(() => {
      window.seen = new Set();
      new MutationObserver(() => window.seen.add(document.getElementById('step-text').textContent))
        .observe(document.getElementById('step-text'), { childList: true });
    });
    await answered(page, () => page.getByRole('button', { name: 'Sample of a 7' }).click(), /^It reads 7,/);
    const seen = await page.evaluate(() => window.seen.size);
    assert.equal(seen > 5, plays, `${reducedMotion}: ${seen} steps were shown`);
    await context.close();
  }
  console.log('reduced motion: the end at once');
}

mkdirSync(shots, { recursive: true });
const opened = await openBrowser(modules);
try {
  for (const device of LOOKS) await look(opened, device);
  await motion(opened.browser);
} finally {
  await opened.browser.close();
}
