/** The mechanism of locks that live in one thread: the queue alone decides, so there is nothing to lock. */
import type { Grant, Mechanism } from '../core/backend.js';

const GRANT: Grant = {
  fd: undefined,
  unlock() {},
  watch: () => () => {},
};

export const inProcess: Mechanism = {
  name: undefined,
  layers: { lock: 'none', wait: 'none' },
  tryLock: () => GRANT,
  isLocked: () => false,
  wait: neverContended,
  waitSync: neverContended,
  dispose() {},
};

function neverContended(): never {
  throw new Error('unreachable: an in-process lock is never contended behind its queue');
}
