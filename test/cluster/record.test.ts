import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { describe, expect, it } from 'vitest';
import { RecordFile } from '../../src/cluster/record.js';
import { isRoot } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';

describe('a record', () => {
  const { path } = testFolder();
  const recordAt = (where: string) =>
    new RecordFile<{ n: number }>(where, 'test 1', ({ n }) => Number.isInteger(n), 'mend it', {
      mode: 0o666,
      ignoreUmask: false,
    });

  it('is not there, then is what was written last', () => {
    const record = recordAt(path());
    expect(record.read()).toBeUndefined();
    record.write({ n: 1 });
    record.write({ n: 2 }, false);
    expect(record.read()).toEqual({ n: 2 });
    expect(existsSync(`${record.path}.new`)).toBe(false);
  });

  it.each([
    ['empty', '', 'it is empty'],
    ['cut off', '{"format":"test 1","n":', 'JSON'],
    ['of another kind', '{"format":"test 2","n":1}', "it is no 'test 1'"],
    ['not an object', '17', "it is no 'test 1'"],
    ['null', 'null', "it is no 'test 1'"],
    ['without its field', '{"format":"test 1"}', 'fields'],
  ])('%s is an error that names it, the reason and the remedy', (_what, text, why) => {
    const record = recordAt(path());
    writeFileSync(record.path, text);
    const error = { code: 'ERR_LOCK_RECORD_DAMAGED', path: record.path, message: expect.stringContaining(why) };
    expect(() => record.read()).toThrow(expect.objectContaining(error));
    expect(() => record.read()).toThrow(/mend it/);
    expect(readFileSync(record.path, 'utf8')).toBe(text);
  });

  it('is written beside what a killed writer left, and never through a link', () => {
    const record = recordAt(path());
    const victim = path();
    writeFileSync(victim, 'mine');
    symlinkSync(victim, `${record.path}.new`);
    record.write({ n: 1 });
    writeFileSync(`${record.path}.new`, 'half of a rec');
    record.write({ n: 2 });
    expect([record.read(), readFileSync(victim, 'utf8')]).toEqual([{ n: 2 }, 'mine']);
  });

  it.skipIf(isRoot)('cannot be written in a folder without permission: a system error, and the old one stays', () => {
    const folder = path();
    mkdirSync(folder);
    const record = recordAt(`${folder}/record`);
    record.write({ n: 1 });
    chmodSync(folder, 0o555);
    expect(() => record.write({ n: 2 })).toThrow(expect.objectContaining({ code: 'EACCES', syscall: 'open' }));
    chmodSync(folder, 0o755);
    expect(record.read()).toEqual({ n: 1 });
  });
});

describe('a record that others may have planted', () => {
  const { path } = testFolder();
  const options = { mode: 0o666, ignoreUmask: false };
  const recordAt = (where: string) =>
    new RecordFile<{ n: number }>(where, 'test 1', ({ n }) => Number.isInteger(n), 'repair it', options);

  it.each([
    ['a FIFO', (file: string) => void spawnSync('mkfifo', [file]), /no regular file/],
    ['a link to a device without end', (file: string) => symlinkSync('/dev/zero', file), /symbolic link/],
    ['a link to a file with a secret', secretLink, /symbolic link/],
    ['a folder', (file: string) => mkdirSync(file), /no regular file/],
    ['a file with a secret', (file: string) => writeFileSync(file, 'top secret'), /it is not JSON/],
    ['a file that is far too large', (file: string) => truncateSync(openFor(file), 2 ** 40), /larger than/],
  ])('%s: neither waits, nor fills the memory, nor tells the content', (_what, plant, message) => {
    const record = recordAt(path());
    plant(record.path);
    expect(() => record.read()).toThrow(message);
    try {
      record.read();
    } catch (error) {
      expect(error).toMatchObject({ code: 'ERR_LOCK_RECORD_DAMAGED' });
      expect(String(error)).not.toContain('secret');
    }
  });

  it('carries the mark that cleaners of temporary folders respect', () => {
    const record = recordAt(path());
    record.write({ n: 1 });
    expect(statSync(record.path).mode & 0o1000).toBe(0o1000);
  });

  it('a draft takes its space before, leaves the old record until it is committed, and goes when it is discarded', () => {
    const record = recordAt(path());
    record.write({ n: 1 });
    const draft = record.reserve(100);
    expect(statSync(`${record.path}.new`).size).toBeGreaterThan(100);
    expect(record.read()).toEqual({ n: 1 });
    draft.commit({ n: 2 });
    draft.discard();
    expect([record.read(), existsSync(`${record.path}.new`)]).toEqual([{ n: 2 }, false]);
    recordAt(record.path).reserve(1).discard();
    expect([record.read(), existsSync(`${record.path}.new`)]).toEqual([{ n: 2 }, false]);
  });

  it('a draft that is discarded late does not take away the next one', () => {
    const record = recordAt(path());
    const late = record.reserve(1);
    const next = record.reserve(1);
    late.discard();
    next.commit({ n: 3 });
    expect(record.read()).toEqual({ n: 3 });
  });
});

function secretLink(file: string): void {
  writeFileSync(`${file}.secret`, 'top secret');
  symlinkSync(`${file}.secret`, file);
}

function openFor(file: string): string {
  writeFileSync(file, '');
  return file;
}
