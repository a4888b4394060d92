import { once } from 'node:events';
import { expect, it } from 'vitest';
import { nameOf, warn, warnOnce } from '../src/warnings.js';

it('a warning has its code; one that is told once of a code makes its text once', async () => {
  const told: string[] = [];
  const texts: string[] = [];
  const make = (text: string) => () => {
    texts.push(text);
    return text;
  };
  const listener = (warning: Error & { code?: string }): void => void told.push(`${warning.code} ${warning.message}`);
  process.on('warning', listener);
  warnOnce('FAIRLOCK_TEST', make('one'));
  warnOnce('FAIRLOCK_TEST', make('two'));
  warnOnce('FAIRLOCK_OTHER', make('three'));
  const last = once(process, 'warning');
  await last;
  warn('FAIRLOCK_TEST', nameOf('/x'));
  warn('FAIRLOCK_TEST', nameOf(undefined));
  await once(process, 'warning');
  await new Promise(setImmediate);
  process.off('warning', listener);
  expect(texts).toEqual(['one', 'three']);
  expect(told).toEqual([
    'FAIRLOCK_TEST one',
    'FAIRLOCK_OTHER three',
    "FAIRLOCK_TEST the lock '/x'",
    'FAIRLOCK_TEST an in-process lock',
  ]);
});
