// Requests at random, by a seed, each written down. What drives the processes of the chaos also drives the broken locks
// that prove the checker.
import { setTimeout as pause, setImmediate } from 'node:timers/promises';

/** Mulberry32: a run's choices can be had again. */
export function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

let count = 0;

/**
 * One request: asks, holds for a while and releases, or gives up.
 * @param subject `{ name, shared, acquire(mode, options, onTicket), try?(mode), sync?(mode, options), journal?() }`
 * @returns the error, if there was one
 */
export async function request(subject, { client, record, random, quick = false }) {
  const id = `${client}#${++count}`;
  const mode = subject.shared && random() < 0.5 ? 'shared' : 'exclusive';
  const dice = random();
  const onTicket = () => record({ what: 'ticket', id });
  let handle;
  const how =
    dice < 0.1 && subject.try !== undefined ? 'try' : dice < 0.12 && subject.sync !== undefined ? 'sync' : 'acquire';
  record({ what: 'ask', id, client, resource: subject.name, mode, how });
  try {
    if (how === 'try') handle = subject.try(mode);
    else if (how === 'sync') handle = subject.sync(mode, { timeout: 2 });
    else handle = await subject.acquire(mode, patience(dice, random), onTicket);
  } catch (error) {
    record({ what: 'gone', id, why: codeOf(error) });
    return error;
  }
  if (handle === null) {
    record({ what: 'gone', id, why: 'null' });
    return undefined;
  }
  const { token, permit } = handle;
  record({ what: 'begin', id, token, permit });
  if (!quick && random() < 0.2) handle.signal?.addEventListener('abort', () => record({ what: 'lost', id }));
  if (mode === 'exclusive') subject.journal?.();
  if (random() < 0.5) await setImmediate();
  if (!quick && random() < 0.02) await pause(random() * 10);
  record({ what: 'end', id });
  handle.release();
  return undefined;
}

/** A DOMException has a number for a code. */
export function codeOf(error) {
  return typeof error.code === 'string' ? error.code : error.name;
}

function patience(dice, random) {
  if (dice < 0.25) return { timeout: random() * 6 };
  if (dice < 0.4) return { signal: AbortSignal.timeout(Math.floor(random() * 6)) };
  return {};
}
