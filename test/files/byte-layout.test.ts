/** The bytes that are locked are named in three files of two languages, and mean the same in all of them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import * as layout from '../../src/files/byte-layout.js';
import { QUEUE_MAGIC, QUEUE_VERSION } from '../../src/files/queue-header.js';
import { root } from '../support/paths.js';

/** The value of a constant of C or TypeScript: numbers, `<<`, `**`, `+`, `-` and other constants of the file. */
function constant(file: string, name: string): number {
  const text = readFileSync(join(root, file), 'utf8');
  const found = new RegExp(`^(?:#define|(?:export )?const) ${name} =? ?(.*?);?(?: *//.*)?$`, 'm').exec(text)?.[1];
  if (found === undefined) throw new Error(`${file} has no ${name}`);
  const plain = found.replace(/\((?:off_t|int64_t)\)/g, '');
  const value = plain
    .replace(/(\d+) << (\d+)/g, '$1 * 2 ** $2')
    .replace(/[A-Z_]{2,}/g, (one) => `${constant(file, one)}`);
  if (!/^[\d\s()*+-]+$/.test(value)) throw new Error(`${name} is ${value}`);
  return new Function(`return ${value}`)() as number;
}

it('in C they are those of byte-layout.ts', () => {
  const [lock, ticket] = ['native-fallback/src/lock.h', 'native-fallback/src/ticket.h'];
  const { FIRST_TICKET, REMOVAL_BYTE, TICKET_MODES } = layout;
  expect(constant(lock, 'PROBE_BYTE')).toBe(REMOVAL_BYTE + 1);
  expect(constant(ticket, 'TICKET_BASE')).toBe(FIRST_TICKET);
  expect(constant(ticket, 'TICKET_MODES')).toBe(TICKET_MODES);
  expect(constant(ticket, 'TICKET_LAST')).toBe(TICKET_MODES - 1);
});

it('the header of a sidecar is one and the same', () => {
  const found = /"(fairlock-queue [^"]*)"/.exec(readFileSync(join(root, 'native-fallback/src/ticket.h'), 'utf8'))?.[1];
  expect(found).toBe(`${QUEUE_MAGIC}${QUEUE_VERSION}`);
});

it('a permit, its number, and the bytes that are neither do not meet', () => {
  const { MOST_PERMITS, PERMIT_NUMBERS, REMOVAL_BYTE } = layout;
  expect(MOST_PERMITS).toBeLessThan(PERMIT_NUMBERS);
  expect(PERMIT_NUMBERS + MOST_PERMITS).toBeLessThan(REMOVAL_BYTE);
});
