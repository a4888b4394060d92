// What the processes of the chaos compete for: every mechanism, both orders; exclusive, shared, permits and terms.
import { subscribe } from 'node:diagnostics_channel';
import { appendFileSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { InterProcessReaderWriterLock, InterProcessSemaphore } from 'fairlock';
import { LeaderElection } from 'fairlock/cluster';

/**
 * How each is made, and what the checker is to know. `clients`: other programs that take part; `removed`: strangers
 * remove it.
 */
export const RESOURCES = {
  flock: { options: { mechanism: 'flock' }, shared: true, clients: ['flock', 'flock(1)'] },
  'flock, fifo': { options: { mechanism: 'flock', fairness: 'fifo' }, shared: true, fifo: true },
  // Removed by its own holders, which must never make a second one.
  'flock, unlinked': { options: { mechanism: 'flock', unlinkOnRelease: true }, shared: true },
  'fifo, unlinked': { options: { mechanism: 'flock', fairness: 'fifo', unlinkOnRelease: true } },
  // And by strangers as well.
  'flock, removed': { options: { mechanism: 'flock', unlinkOnRelease: true }, shared: true, removed: true },
  'fifo, removed': { options: { mechanism: 'flock', fairness: 'fifo', unlinkOnRelease: true }, removed: true },
  fcntl: { options: { mechanism: 'fcntl' }, shared: true, clients: ['lockf'] },
  'fcntl, fifo': { options: { mechanism: 'fcntl', fairness: 'fifo' }, fifo: true },
  semaphore: { permits: 3, options: {} },
  'semaphore, fifo': { permits: 2, options: { fairness: 'fifo' } },
  lockfile: { options: { mechanism: 'lockfile', stale: 2000, update: 1000 }, rare: true },
  election: { tokens: true, options: {}, rare: true },
};

export function pathOf(name, folder) {
  return join(folder, name.replaceAll(/\W+/g, '-'));
}

/** By the number of the request: called when it has its place in the queue of all processes. */
const onQueued = new Map();
let ofRequestBeingMade;
subscribe('fairlock:request', ({ request }) => {
  if (ofRequestBeingMade !== undefined) onQueued.set(request, ofRequestBeingMade);
});
subscribe('fairlock:queued', ({ request }) => onQueued.get(request)?.());
for (const end of ['fairlock:grant', 'fairlock:cancel']) subscribe(end, ({ request }) => onQueued.delete(request));

/** @param journals a folder on a disk that is never full */
export function subjectOf(name, folder, journals) {
  const { options, permits, tokens, removed, shared = false } = RESOURCES[name];
  const path = pathOf(name, folder);
  if (tokens) {
    const election = new LeaderElection(path, options);
    return { name, acquire: (_mode, waiting) => termOf(election, waiting), close: () => election.close() };
  }
  if (permits !== undefined) {
    const semaphore = new InterProcessSemaphore(path, { permits, ...options });
    return {
      name,
      acquire: (_mode, waiting) => semaphore.acquire(waiting),
      try: () => semaphore.tryAcquire(),
      close: () => semaphore.close(),
    };
  }
  const lock = new InterProcessReaderWriterLock(path, options);
  return {
    name,
    shared,
    acquire(mode, waiting, told) {
      ofRequestBeingMade = told;
      try {
        return mode === 'shared' ? lock.acquireRead(waiting) : lock.acquireWrite(waiting);
      } finally {
        ofRequestBeingMade = undefined;
      }
    },
    try: (mode) => (mode === 'shared' ? lock.tryAcquireRead() : lock.tryAcquireWrite()),
    sync: (mode, waiting) => (mode === 'shared' ? lock.acquireReadSync(waiting) : lock.acquireWriteSync(waiting)),
    journal: removed ? undefined : journalAt(`${pathOf(name, journals)}.journal`),
    close: () => lock.close(),
  };
}

/** A term as a handle, with its token. */
function termOf(election, waiting) {
  return new Promise((resolve, reject) => {
    const lead = ({ token, signal }) => new Promise((release) => resolve({ token, signal, release: () => release() }));
    election.run(lead, waiting).catch(reject);
  });
}

/**
 * Numbers one after the other, each written in two halves: two writers at once make a gap, a double or a tear. What a
 * writer that was killed left unfinished is taken away by the next one.
 */
function journalAt(path) {
  return () => {
    const text = readOrEmpty(path);
    const whole = text.lastIndexOf('\n') + 1;
    const last = Number(text.slice(0, whole).trimEnd().split('\n').at(-1) || 0);
    // Not for ever longer: then it goes on from where it is.
    if (whole > 20_000) truncateSync(path, 0);
    else if (whole < text.length) truncateSync(path, whole);
    const line = `${last + 1}\n`;
    appendFileSync(path, line.slice(0, 1));
    appendFileSync(path, line.slice(1));
  };
}

/** A number of the journal that is not the one before it plus one; undefined: there is none. */
export function gapIn(path) {
  const numbers = readOrEmpty(path).split('\n').slice(0, -1).map(Number);
  return numbers.find((number, i) => i > 0 && number !== numbers[i - 1] + 1);
}

function readOrEmpty(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
