import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { hasFcntl } from '../support/capabilities.js';
import { CLI, testFolder } from '../support/paths.js';
import { lyingFlock, run } from '../support/programs.js';
import { isSoak } from '../support/scale.js';

const doctor = (env: NodeJS.ProcessEnv, ...args: string[]) =>
  run(process.execPath, [CLI, 'doctor', ...args], { FAIRLOCK_DISABLE: '', ...env });
const { folder, path } = testFolder();

const preload = lyingFlock();
const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
const libc = header.glibcVersionRuntime === undefined ? 'musl' : `glibc ${header.glibcVersionRuntime}`;

describe.runIf(hasFcntl)('fairlock doctor', () => {
  it('finds all well on a file system whose locks work, and leaves nothing', async () => {
    const before = readdirSync(folder);
    const { code, stdout, stderr } = await doctor({}, folder);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^✓ native-fallback: loads$/m);
    expect(stdout).toMatch(/^✓ file system: \w+$/m);
    expect(stdout).toMatch(/^✓ mark: kept/m);
    for (const mechanism of ['flock', 'fcntl'])
      expect(stdout).toContain(`✓ ${mechanism}: excludes other processes, and wakes waiters`);
    expect(stdout.split('\n')[0]).toBe(
      `fairlock ${version}, Node ${process.version}, ${process.platform} ${process.arch}, ${libc}`,
    );
    expect(stdout).toMatch(/\nall is well: locks work here\n$/);
    expect(readdirSync(folder)).toEqual(before);
  });

  it.runIf(isSoak)('tells it to programs', async () => {
    const { code, stdout } = await doctor({ FAIRLOCK_DISABLE: 'native-fallback' }, '--json', folder);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      fairlock: version,
      node: process.version,
      platform: `${process.platform} ${process.arch}`,
      libc,
      folder,
      ok: false,
      summary: expect.stringContaining('not well: native-fallback'),
      findings: expect.arrayContaining([
        { what: 'file system', ok: true, detail: expect.any(String) },
        { what: 'native-fallback', ok: false, optional: false, detail: expect.any(String), advice: expect.any(String) },
      ]),
    });
  });

  it.runIf(isSoak)('names the file system', async () => {
    expect((await doctor({}, '/dev/shm')).stdout).toMatch(/file system: tmpfs\n {2}→ fine; gone after a reboot/);
  });

  it('tells what does not load, and what to do about it', async () => {
    const { code, stdout } = await doctor({ FAIRLOCK_DISABLE: 'native-fallback' }, folder);
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /✗ native-fallback: does not load: switched off by FAIRLOCK_DISABLE\n {2}→ unset FAIRLOCK_DISABLE/,
    );
    expect(stdout).toMatch(/\n\d of 6 are not well: native-fallback, .*\n$/);
  });

  it.runIf(isSoak)('is well without fs-ext, but not without both', async () => {
    expect((await doctor({ FAIRLOCK_DISABLE: 'fs-ext' }, folder)).code).toBe(0);
    expect((await doctor({ FAIRLOCK_DISABLE: 'fs-ext,native-fallback' }, folder)).code).toBe(1);
  });

  it.runIf(preload !== undefined)(
    'finds out a file system that reports success without excluding any process',
    async () => {
      const { code, stdout } = await doctor({ LD_PRELOAD: preload, LIE: 'success' }, folder);
      expect(code).toBe(1);
      for (const mechanism of ['flock', 'fcntl'])
        expect(stdout).toContain(`✗ ${mechanism}: reports success and excludes no process: two hold it`);
    },
  );

  it.runIf(preload !== undefined && isSoak)('finds out a file system without locks', async () => {
    const { code, stdout } = await doctor({ LD_PRELOAD: preload, LIE: 'ENOLCK' }, folder);
    expect(code).toBe(1);
    expect(stdout).toMatch(/✗ flock: cannot lock '.*': flock locks are refused here \(ENOLCK\)/);
    expect(stdout).toMatch(/✗ fcntl: cannot lock .*ENOLCK/);
  });

  it('says where nothing can be tried out', async () => {
    expect(await doctor({}, path('nowhere'))).toMatchObject({
      code: 66,
      stderr: expect.stringContaining('cannot try locks out'),
    });
    if (isSoak) expect((await doctor({}, '/proc')).code).toBe(66);
  });
});
