// served.mjs MODULES URL SHOTS: the page in headless Chromium; scripts/check-page.sh runs it.
//
// MODULES has those of package.json; at URL the runs `digits`, of images, and `lines`, whose classes are
// those of rising and falling sequences, are served. Screenshots are written to SHOTS.
import { createRequire } from 'node:module';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import assert from 'node:assert/strict';

const [modules, url, shots] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { chromium } = require('playwright-core');
const { AxeBuilder } = require('@axe-core/playwright');

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

async function accessible(page, what) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(node => `${node.target} ${node.failureSummary}`).join('; ')}`);
  assert.deepEqual(found, [], what);
}

async function fits(page, what) {
  const [wide, width] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= width, `${what}: ${wide} pixels in a window of ${width}`);
}

// Draws strokes with the mouse, or with a finger.
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

async function look(browser, scheme, size, viewport) {
  const name = `${size}-${scheme}`;
  const context = await browser.newContext({ viewport, colorScheme: scheme, hasTouch: size === 'phone', isMobile: size === 'phone', deviceScaleFactor: 1 });
  const page = await context.newPage();
  const trouble = [];
  page.on('console', message => { if (message.type() === 'error') trouble.push(message.text()); });
  page.on('pageerror', error => trouble.push(error.message));
  page.on('request', request => { if (!request.url().startsWith(url) && !request.url().startsWith('data:')) trouble.push(request.url()); });
  await page.goto(url);
  await page.waitForFunction(() => document.getElementById('samples').children.length === 10);
  await accessible(page, `${name}, at first`);
  await digits(page);
  await cursor(page);
  await erase(page);
  await accessible(page, `${name}, with a digit`);
  await fits(page, name);
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
  await keyboard(page);
  await sequences(page);
  await accessible(page, `${name}, with a sequence`);
  await fits(page, `${name}, with a sequence`);
  await page.screenshot({ path: join(shots, `${name}-sequence.png`), fullPage: true });
  assert.deepEqual(trouble, []);
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
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox'] });
try {
  for (const scheme of ['light', 'dark']) {
    await look(browser, scheme, 'phone', { width: 390, height: 844 });
    await look(browser, scheme, 'desktop', { width: 1280, height: 900 });
  }
  await motion(browser);
} finally {
  await browser.close();
}
