import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fileNameOf, nameOf } from '../../src/web-locks/file-names.js';

const ANY_STRING = fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units));

describe('the file name of a lock', () => {
  it('is safe whatever the name, and tells it back', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), ANY_STRING, fc.string({ unit: 'binary', maxLength: 60 })), (name) => {
        const file = fileNameOf(name);
        expect(file).toMatch(/^(n-[a-z0-9_%-]*|h-[0-9a-f]{64})$/);
        expect(`.${file}.fairlock-steal-4194304-99999`.length).toBeLessThan(255);
        if (file.startsWith('n-')) expect(nameOf(file)).toBe(name);
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ['', 'n-'],
    ['jobs_1-a', 'n-jobs_1-a'],
    ['Jobs', 'n-%4aobs'],
    ['../a/b', 'n-%2e%2e%2fa%2fb'],
    ['nul\0', 'n-nul%00'],
    ['100%', 'n-100%25'],
    ['é', 'n-%e9'],
    ['😀', 'n-%ud83d%ude00'],
    ['\ud83d', 'n-%ud83d'],
  ])('of %j is %s', (name, file) => {
    expect(fileNameOf(name)).toBe(file);
    expect(nameOf(file)).toBe(name);
  });

  it('does not collide where the file system knows no capitals, nor for long names', () => {
    const names = [
      'a',
      'A',
      'é',
      'e\u0301',
      'É',
      '%41',
      'x'.repeat(1_000_000),
      `${'x'.repeat(1_000_000)}y`,
      '\ud83d'.repeat(200),
      '\ud83e'.repeat(200),
    ];
    expect(new Set(names.map((name) => fileNameOf(name).toLowerCase())).size).toBe(names.length);
    expect(nameOf(fileNameOf('x'.repeat(500)))).toBeUndefined();
  });
});
