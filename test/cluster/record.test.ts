import { chmodSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { RecordFile } from '../../src/cluster/record.js';
import { isRoot } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';

describe('a record', () => {
  const { path } = testFolder();
  const recordAt = (where: string) => new RecordFile<{ n: number }>(where, 'test 1', ({ n }) => Number.isInteger(n), 'mend it', 0o666);

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

  it('is written beside what a killed writer left, and through nobody’s link', () => {
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
