// Tries that the system refuses: what they leave open, and their errors.
import { readdirSync } from 'node:fs';
import { InterProcessLock, InterProcessSemaphore } from 'fairlock';

const [file, semaphore] = process.argv.slice(2);
const locks = [
  new InterProcessLock(file, { fairness: 'fifo' }),
  new InterProcessSemaphore(semaphore, { permits: 2, fairness: 'fifo' }),
];
const codes = new Set();
const open = () => readdirSync('/proc/self/fd').length;
process.env.LIE = 'ENOLCK';
const before = open();
for (let i = 0; i < 50; i++) {
  for (const lock of locks) {
    try {
      lock.tryAcquire();
    } catch ({ code }) {
      codes.add(code);
    }
  }
}
console.log(open() - before < 8, [...codes].join());
