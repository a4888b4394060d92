// Requests at random, and a history: what was asked for when, held from when to when, and what came of it.
import { appendFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { LockManager } from 'fairlock/web-locks';

const [directory, log, seed, count, steals] = process.argv.slice(2);
const locks = new LockManager(directory);
let state = Number(seed);
/** Park and Miller's, so that a run can be had again. */
const random = (below) => {
  state = (state * 48271) % 2147483647;
  return state % below;
};
const now = () => Number(process.hrtime.bigint());
const kinds = [
  'exclusive',
  'exclusive',
  'shared',
  'shared',
  'ifAvailable',
  'ifAvailable shared',
  'signal',
  'signal shared',
];
if (steals === 'steal') kinds.push('steal');

async function one(i) {
  const kind = kinds[random(i % 5 === 0 ? kinds.length : 8)];
  const name = `name ${random(2)}`;
  const controller = new AbortController();
  const options = {
    mode: kind.includes('shared') ? 'shared' : 'exclusive',
    ...(kind.startsWith('ifAvailable') && { ifAvailable: true }),
    ...(kind.startsWith('signal') && { signal: controller.signal }),
    ...(kind === 'steal' && { steal: true }),
  };
  const turns = random(4);
  const held = { asked: now(), begin: 0, end: 0, lost: 0 };
  const outcome = locks
    .request(name, options, async (lock) => {
      if (lock === null) return 'null';
      held.begin = now();
      // It may have been stolen before this is called.
      if (lock.signal.aborted) held.lost = now();
      lock.signal.addEventListener('abort', () => {
        held.lost = now();
      });
      for (let turn = 0; turn < turns; turn++) await setImmediate();
      held.end = now();
      return 'done';
    })
    .catch(({ name: error }) => error);
  if (kind.startsWith('signal')) {
    for (let turn = random(4); turn > 0; turn--) await setImmediate();
    controller.abort();
  }
  const came = await outcome;
  // What was stolen goes on for a while; what counts is that it was told.
  while (held.begin !== 0 && held.end === 0) await setImmediate();
  appendFileSync(log, `${JSON.stringify({ name, kind, mode: options.mode, came, ...held })}\n`);
}

for (let i = 0; i < Number(count); i += 4) await Promise.all([one(i), one(i + 1), one(i + 2), one(i + 3)]);
