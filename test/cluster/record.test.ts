import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MOST_BYTES } from '../../src/cluster/draft.js';
import { RecordFile } from '../../src/cluster/record.js';
import { isRoot } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';

const isHeld = (): boolean => true;

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
    record.write({ n: 1 }, isHeld);
    record.write({ n: 2 }, isHeld, false);
    expect(record.read()).toEqual({ n: 2 });
    expect(existsSync(`${record.path}.new`)).toBe(false);
  });

  it.each([
    ['empty', '', 'it is empty'],
    ['cut off', '{"format":"test 1","n":', 'JSON'],
    ['of another kind', '{"format":"other 1","n":1}', "it is no 'test 1'"],
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
    symlinkSync(victim, record.path);
    record.write({ n: 1 }, isHeld);
    writeFileSync(`${record.path}.0123456789abcdef.new`, 'half of a rec');
    record.write({ n: 2 }, isHeld);
    expect([record.read(), readFileSync(victim, 'utf8')]).toEqual([{ n: 2 }, 'mine']);
  });

  it.skipIf(isRoot)('cannot be written in a folder without permission: a system error, and the old one stays', () => {
    const folder = path();
    mkdirSync(folder);
    const record = recordAt(`${folder}/record`);
    record.write({ n: 1 }, isHeld);
    chmodSync(folder, 0o555);
    expect(() => record.write({ n: 2 }, isHeld)).toThrow(expect.objectContaining({ code: 'EACCES', syscall: 'open' }));
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
    record.write({ n: 1 }, isHeld);
    expect(statSync(record.path).mode & 0o1000).toBe(0o1000);
  });

  it('a draft takes its space before, leaves the old record until it is committed, and goes when it ends', () => {
    const record = recordAt(path());
    const drafts = () =>
      readdirSync(dirname(record.path)).filter((name) => name.startsWith(`${basename(record.path)}.`));
    record.write({ n: 1 }, isHeld);
    const draft = record.draft(100);
    const [name] = drafts();
    expect(statSync(join(dirname(record.path), name as string)).size).toBe(100);
    expect(record.read()).toEqual({ n: 1 });
    draft.commit({ n: 2 }, isHeld, 'replace');
    draft.end();
    expect([record.read(), drafts()]).toEqual([{ n: 2 }, []]);
    recordAt(record.path).draft(1).end();
    expect([record.read(), drafts()]).toEqual([{ n: 2 }, []]);
  });

  it('two drafts at a time are two files, and each ends alone', () => {
    const record = recordAt(path());
    const [late, next] = [record.draft(1), record.draft(1)];
    late.end();
    next.commit({ n: 3 }, isHeld, 'replace');
    next.end();
    expect(record.read()).toEqual({ n: 3 });
    expect(() => late.commit({ n: 4 }, isHeld, 'replace')).toThrow('the draft has ended');
  });

  it('of a lock that is lost meanwhile is not put in place', () => {
    const record = recordAt(path());
    record.write({ n: 1 }, isHeld);
    expect(() => record.write({ n: 2 }, () => false)).toThrow(expect.objectContaining({ code: 'ERR_LOCK_LOST' }));
    expect(record.read()).toEqual({ n: 1 });
  });

  it('that is to be created leaves one that is there', () => {
    const record = recordAt(path());
    const [first, second] = [record.draft(), record.draft()];
    expect(first.commit({ n: 1 }, isHeld, 'create')).toBe(true);
    expect(second.commit({ n: 2 }, isHeld, 'create')).toBe(false);
    for (const draft of [first, second]) draft.end();
    expect(record.read()).toEqual({ n: 1 });
  });

  it('that is larger than what is read is not written', () => {
    const record = new RecordFile<{ text: string }>(path(), 'test 1', () => true, 'mend it', {
      mode: 0o666,
      ignoreUmask: false,
    });
    expect(() => record.write({ text: 'x'.repeat(MOST_BYTES) }, isHeld)).toThrow(RangeError);
    expect(record.read()).toBeUndefined();
  });

  it('drafts that killed writers have left are swept, and nothing else', () => {
    const record = recordAt(path());
    record.write({ n: 1 }, isHeld);
    const [left, other] = [`${record.path}.0123456789abcdef.new`, `${record.path}.mine.new`];
    for (const file of [left, other]) writeFileSync(file, 'half of a rec');
    record.sweep();
    expect([existsSync(left), existsSync(other), record.read()]).toEqual([false, true, { n: 1 }]);
  });

  it('of another version is an error that names both', () => {
    const record = recordAt(path());
    writeFileSync(record.path, '{"format":"test 7","n":1}');
    expect(() => record.read()).toThrow(/'test 7'.*'test 1'/);
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
