/// <reference lib="dom" />
/** The page of `fairlock trace`, in a browser. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { type Browser, launch, type Page } from 'puppeteer-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HOLD, type Row, type TraceData, WAIT } from '../../../src/cli/trace-view/model.js';
import { CLI, testFolder } from '../../support/paths.js';
import { program, run } from '../../support/programs.js';

const found =
  spawnSync('sh', ['-c', 'command -v chromium || command -v google-chrome']).stdout?.toString().trim() ?? '';
const { path } = testFolder();

/** Two processes take turns at each of two locks; the second waits for the first. */
function turns(count: number): Row[] {
  return Array.from({ length: count }, (_, i): Row[] => {
    const [lock, begin] = [i % 2, i * 20];
    return [
      [0, lock, HOLD, 0, begin, begin + 10, 0],
      [1, lock, WAIT, 0, begin + 2, begin + 10, 0],
      [1, lock, HOLD, i % 4 === 3 ? 1 : 0, begin + 10, begin + 15, i === count - 1 ? 3 : 0],
    ];
  }).flat();
}

describe.runIf(found !== '')('the page', () => {
  let browser: Browser;
  let profile = '';
  let made = '';
  beforeAll(async () => {
    // Not in TMPDIR, which may be too long for its sockets.
    profile = mkdtempSync('/tmp/fairlock-browser-');
    const env = { ...process.env, TMPDIR: '/tmp' };
    browser = await launch({
      executablePath: found,
      args: ['--no-sandbox', '--disable-gpu'],
      userDataDir: profile,
      env,
    });
    made = path('made.html');
    await run(process.execPath, [CLI, 'trace', '-o', made, '--', process.execPath, program('traced.mjs'), path()]);
  }, 60_000);
  afterAll(async () => {
    await browser.close();
    rmSync(profile, { recursive: true, force: true });
  });

  /** Opened, with other data than it was made with; it asks for nothing but itself, and says nothing is wrong. */
  async function opened(rows: Row[], { width = 1280, dark = false } = {}): Promise<{ page: Page; faults: string[] }> {
    const data: TraceData = {
      title: 'made up',
      note: '',
      processes: ['100', '200'].map((name) => ({ name, command: 'node worker.js' })),
      locks: ['/var/lock/a.lock', '/var/lock/b.lock'],
      rows,
    };
    const file = path('page.html');
    const html = readFileSync(made, 'utf8').replace(
      /(id="data">).*?(<\/script>)/s,
      (_, a, b) => a + JSON.stringify(data) + b,
    );
    writeFileSync(file, html);
    const page = await browser.newPage();
    const faults: string[] = [];
    page.on('pageerror', (error) => faults.push(String(error)));
    page.on('console', (message) => faults.push(message.text()));
    page.on('request', (request) => {
      if (request.url() !== pathToFileURL(file).href) faults.push(request.url());
    });
    await page.setViewport({ width, height: 900 });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]);
    await page.goto(pathToFileURL(file).href);
    await page.waitForSelector(`html[data-ready="${rows.length}"]`);
    return { page, faults };
  }

  const cells = (page: Page, table: string): Promise<string[][]> =>
    page.$$eval(`${table} tbody tr`, (rows) =>
      rows.map((row) => [...row.children].map((cell) => cell.textContent ?? '')),
    );

  /** How many colours are drawn in the lanes: none is a canvas that was left empty. */
  const colours = (page: Page): Promise<number> =>
    page.$eval('#lanes canvas', async (canvas) => {
      await new Promise(requestAnimationFrame);
      await new Promise(requestAnimationFrame);
      const { width, height } = canvas as HTMLCanvasElement;
      const { data } = ((canvas as HTMLCanvasElement).getContext('2d') as CanvasRenderingContext2D).getImageData(
        0,
        0,
        width,
        height,
      );
      const words = new Uint32Array(data.buffer);
      return new Set(words).size;
    });

  it('sums up: locks by total wait, the longest waits, which process waited for which', async () => {
    const { page, faults } = await opened(turns(4));
    expect((await cells(page, '#locks')).map(([lock, total, waits]) => [lock, total, waits])).toEqual([
      ['a.lock', '16.0 ms', '2'],
      ['b.lock', '16.0 ms', '2'],
    ]);
    const figures = await page.$eval('#figures', (one) => one.textContent);
    expect(figures).toContain('75.0 mslasted');
    expect(figures).toContain('100 (16.0 ms)waited most for');
    expect(await colours(page)).toBeGreaterThan(5);
    expect(faults).toEqual([]);
  });

  it('a click on a wait shows what it was for; a search and a lock leave out the others', async () => {
    const { page, faults } = await opened(turns(4));
    await page.click('#tables section:first-child tbody tr');
    expect(await page.$eval('#details', (one) => one.textContent)).toMatch(
      /200 waited for .*a\.lock.*Held meanwhile by:100 \(8\.0 ms\)/,
    );
    await page.click('#details ul button');
    expect(await page.$eval('#details', (one) => one.textContent)).toMatch(/100 held/);
    await page.type('#search', 'b.lock');
    expect((await cells(page, '#locks')).map(([lock]) => lock)).toEqual(['b.lock']);
    await page.$eval('#search', (input) => {
      (input as HTMLInputElement).value = '';
      input.dispatchEvent(new Event('input'));
    });
    await page.click('#locks tbody tr');
    expect(new Set((await cells(page, '#tables section:first-child')).map(([, lock]) => lock))).toEqual(
      new Set(['a.lock']),
    );
    await page.click('#all');
    expect((await cells(page, '#locks')).length).toBe(2);
    expect(faults).toEqual([]);
  });

  it('a click on a head sorts', async () => {
    const { page } = await opened(turns(3));
    const heads = await page.$$('#locks th button');
    await heads[0]?.click();
    expect((await cells(page, '#locks')).map(([lock]) => lock)).toEqual(['b.lock', 'a.lock']);
    await heads[0]?.click();
    expect((await cells(page, '#locks')).map(([lock]) => lock)).toEqual(['a.lock', 'b.lock']);
    expect(await page.$$eval('#locks th', ([first]) => first?.ariaSort)).toBe('ascending');
  });

  it('zooms by buttons, and both parts follow', async () => {
    const { page, faults } = await opened(turns(4));
    expect(await page.$eval('#range', (one) => one.textContent)).toBe('0 to 75.0 ms');
    await page.click('#in');
    expect(await page.$eval('#range', (one) => one.textContent)).toBe('18.8 ms to 56.3 ms');
    const strip = (await page.$('#depth .u-over')) as NonNullable<Awaited<ReturnType<Page['$']>>>;
    const box = (await strip.boundingBox()) as { x: number; y: number; width: number; height: number };
    await page.mouse.move(box.x + box.width / 2, box.y + 5);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width, box.y + 5, { steps: 5 });
    await page.mouse.up();
    expect(await page.$eval('#range', (one) => one.textContent)).toMatch(/^37\.\d ms to 56\.\d ms$/);
    await page.click('#whole');
    expect(await page.$eval('#range', (one) => one.textContent)).toBe('0 to 75.0 ms');
    expect(faults).toEqual([]);
  });

  it('gives the trace to Perfetto', async () => {
    const { page } = await opened(turns(4));
    const text = await page.evaluate(async () => {
      const taken = new Promise<Blob>((resolve) => {
        URL.createObjectURL = (blob) => {
          resolve(blob as Blob);
          return '#';
        };
      });
      document.getElementById('export')?.click();
      return (await taken).text();
    });
    expect(JSON.parse(text).traceEvents.filter(({ ph }: { ph: string }) => ph === 'X').length).toBe(12);
  });

  it.each([
    [390, false],
    [390, true],
    [1440, true],
  ])('%d pixels wide, dark: %s, nothing is cut off', async (width, dark) => {
    const { page, faults } = await opened(turns(30), { width, dark });
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
    expect(await colours(page)).toBeGreaterThan(5);
    const background = await page.$eval('body', (body) => getComputedStyle(body).backgroundColor);
    expect(background).toBe(dark ? 'rgb(22, 25, 29)' : 'rgb(255, 255, 255)');
    expect(faults).toEqual([]);
  });

  it('shows 100 000 of them', async () => {
    const { page, faults } = await opened(turns(33_334));
    expect(await colours(page)).toBeGreaterThan(2);
    expect(faults).toEqual([]);
  });

  it('without any, says so by its figures', async () => {
    const { page, faults } = await opened([]);
    expect(await page.$eval('#figures', (one) => one.textContent)).toContain('–longest wait');
    expect(faults).toEqual([]);
  });
});
