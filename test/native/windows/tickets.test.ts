// The tickets of Windows over locks of bytes of this system, which differ in one thing only: an open file's own locks do
// not exclude it. On Windows itself (Wine): test/platforms.test.ts.
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { type Addon, CONTENDED, FIRST, GRANTED, loadAddon } from '../../../src/native/addon.js';
import { NativeFile } from '../../../src/native/native-file.js';
import { type ByteLocks, TAKING, WindowsTicket } from '../../../src/native/windows/tickets.js';
import { hasFcntl } from '../../support/capabilities.js';
import { testFolder } from '../../support/paths.js';

const { path } = testFolder();

class Bytes implements ByteLocks {
  readonly fd: number;

  constructor(private readonly file: string) {
    this.fd = openSync(file, 'r+');
    opened.push(this.fd);
  }

  tryBytes(shared: boolean, from: number, length: number): number {
    return this.#range(from, length).tryLock(shared ? 'shared' : 'exclusive');
  }

  unlockBytes(from: number, length: number): void {
    this.#range(from, length).unlock();
  }

  #range(start: number, length: number): NativeFile {
    const options = { path: this.file, followSymlinks: false, range: { start, length } };
    return new NativeFile(loadAddon().api as Addon, this.fd, options);
  }
}

const opened: number[] = [];
afterEach(() => {
  for (const fd of opened.splice(0)) closeSync(fd);
});

function newSidecar(content: string | Buffer = ''): string {
  const file = path();
  writeFileSync(file, content);
  return file;
}

const guess = (next: bigint): Buffer => {
  const header = Buffer.from('fairlock-queue 2\0\0\0\0\0\0\0\0');
  header.writeBigInt64LE(next, 16);
  return header;
};

describe.runIf(hasFcntl)('a ticket', () => {
  it('is the first of an empty queue, and later ones come behind it', () => {
    const file = newSidecar();
    const [a, b, c] = [1, 2, 3].map(() => new WindowsTicket(new Bytes(file))) as [
      WindowsTicket,
      WindowsTicket,
      WindowsTicket,
    ];
    expect([a.first(), a.tryTake(), b.tryTake(), c.tryTake()]).toEqual([GRANTED, FIRST, GRANTED, GRANTED]);
    expect([a.first(), b.first(), c.first()]).toEqual([GRANTED, CONTENDED, CONTENDED]);
    expect(new WindowsTicket(new Bytes(file)).first()).toBe(CONTENDED);
    b.drop();
    expect(c.predecessor().from).toBe(4096);
    a.drop();
    expect(c.first()).toBe(GRANTED);
    expect(b.tryTake()).toBe(GRANTED);
    expect(c.predecessor().from).toBeLessThan(b.predecessor().from);
  });

  it('is not taken while another process takes one', () => {
    const file = newSidecar();
    const taking = new Bytes(file);
    expect(taking.tryBytes(TAKING.shared, TAKING.from, TAKING.length)).toBe(GRANTED);
    expect(new WindowsTicket(new Bytes(file)).tryTake()).toBe(CONTENDED);
    taking.unlockBytes(TAKING.from, TAKING.length);
    expect(new WindowsTicket(new Bytes(file)).tryTake()).toBe(FIRST);
  });

  it('writes no file of another program', () => {
    const file = newSidecar('precious');
    const tickets = [1, 2, 3].map(() => new WindowsTicket(new Bytes(file)));
    expect(tickets.map((ticket) => ticket.tryTake())).toEqual([FIRST, GRANTED, GRANTED]);
    expect(readFileSync(file, 'utf8')).toBe('precious');
  });

  it('whatever is taken and dropped, and whatever the file says: the order is that of taking', () => {
    const step = fc.record({ take: fc.boolean(), which: fc.nat(40), next: fc.option(fc.bigInt(-5n, 300n)) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const file = newSidecar();
        let queue: WindowsTicket[] = [];
        for (const { take, which, next } of steps) {
          if (next !== null) writeFileSync(file, guess(next));
          const one = queue[which % Math.max(1, queue.length)];
          if (take || one === undefined) {
            const ticket = new WindowsTicket(new Bytes(file));
            expect(ticket.tryTake()).toBe(queue.length === 0 ? FIRST : GRANTED);
            queue.push(ticket);
          } else {
            one.drop();
            queue = queue.filter((other) => other !== one);
          }
          expect(queue.map((ticket) => ticket.first())).toEqual(queue.map((_, i) => (i === 0 ? GRANTED : CONTENDED)));
          const places = queue.slice(1).map((ticket) => ticket.predecessor().from);
          expect(places).toEqual([...new Set(places)].sort((a, b) => a - b));
        }
        for (const fd of opened.splice(0)) closeSync(fd);
      }),
      { numRuns: 60 },
    );
  });
});
