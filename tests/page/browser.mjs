// What the tests of pages share: Chromium, axe-core, and which devices and colours are looked at.
import { createRequire } from 'node:module';
import assert from 'node:assert/strict';

const SIZES = { phone: { width: 390, height: 844 }, desktop: { width: 1280, height: 900 } };
export const LOOKS = ['light', 'dark'].flatMap(scheme => Object.keys(SIZES).map(size => ({ name: `${size}-${scheme}`, scheme, size })));

// The browser, and what looks at its pages; `modules` has those of package.json.
export async function openBrowser(modules) {
  const require = createRequire(`${modules}/`);
  const { chromium } = require('playwright-core');
  const { AxeBuilder } = require('@axe-core/playwright');
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox'] });
  // Fails where axe-core finds something.
  const accessible = async (page, what) => {
    const { violations } = await new AxeBuilder({ page }).analyze();
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(node => `${node.target} ${node.failureSummary}`).join('; ')}`);
    assert.deepEqual(found, [], what);
  };
  return { browser, accessible };
}

// A page on such a device in such colours, and what goes wrong on it, asking elsewhere included.
export async function openPage(browser, { scheme, size }, isFromHere, more = {}) {
  const phone = size === 'phone';
  const context = await browser.newContext({ viewport: SIZES[size], colorScheme: scheme, hasTouch: phone, isMobile: phone, deviceScaleFactor: 1, ...more });
  const page = await context.newPage();
  const trouble = [];
  page.on('console', message => { if (message.type() === 'error') trouble.push(message.text()); });
  page.on('pageerror', error => trouble.push(error.message));
  page.on('request', request => { if (!isFromHere(request.url()) && !request.url().startsWith('data:')) trouble.push(request.url()); });
  return { page, context, trouble };
}

// Fails where a page is wider than its window.
export async function fits(page, what) {
  const [wide, width] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= width, `${what}: ${wide} pixels in a window of ${width}`);
}
