// One of the processes of chaos/fifo.mjs: asks for the lock again and again, now and then without patience, and writes
// down under the lock who it is and when it asked.
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { InterProcessLock } from 'fairlock';
import { Ticket } from '../../dist/fairness/ticket-queue.js';

const [folder] = process.argv.slice(2);
const lock = new InterProcessLock(`${folder}/lock`, { fairness: 'fifo' });
const inside = `${folder}/inside`;
const now = () => Number(process.hrtime.bigint());
let going = true;
let drawn = 0;

// When the ticket was ours: from then on nobody who asks may be served before us.
const { draw } = Ticket.prototype;
Ticket.prototype.draw = function (done) {
  draw.call(this, () => {
    drawn = now();
    done();
  });
};

function enter() {
  for (;;) {
    try {
      mkdirSync(inside);
      writeFileSync(`${inside}/pid`, String(process.pid));
      return;
    } catch {
      const pid = Number(readFileSync(`${inside}/pid`, { encoding: 'utf8', flag: 'a+' }));
      if (pid > 0 && isAlive(pid)) throw new Error(`two holders: ${process.pid} and ${pid}`);
      rmSync(inside, { recursive: true, force: true }); // of a holder that was killed
    }
  }
}

/** A process that dies drops its locks some moments before it is gone: from then on it is marked as exiting. */
function isAlive(pid) {
  const PF_EXITING = 4;
  try {
    const [, , , , , , flags] = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return (Number(flags) & PF_EXITING) === 0;
  } catch {
    return false;
  }
}

function impatience() {
  const dice = Math.random();
  if (dice < 0.1) return { timeout: Math.random() * 4 };
  if (dice < 0.2) return { signal: AbortSignal.timeout(Math.floor(Math.random() * 4)) };
  return {};
}

process.on('message', () => {
  going = false;
});
process.on('disconnect', () => process.exit(1));

while (going) {
  drawn = 0;
  const asked = now();
  const handle = await lock.acquire(impatience()).catch((error) => {
    if (error.code !== 'ERR_LOCK_TIMEOUT' && error.name !== 'TimeoutError') throw error;
  });
  if (handle === undefined) continue;
  if (drawn === 0) drawn = now();
  enter();
  if (Math.random() < 0.5) await setImmediate();
  appendFileSync(`${folder}/log`, `${process.pid} ${asked} ${drawn}\n`);
  rmSync(inside, { recursive: true });
  handle.release();
}
process.exit(0);
