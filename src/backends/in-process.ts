/** The backend of locks that live in one thread: the queue alone decides, so there is nothing to lock. */
import { type Backend, type Capabilities, type Grant, NO_INSPECTION } from '../core/backend.js';

const GRANT: Grant = {
  fd: undefined,
  unlock() {},
  check() {},
  watch: () => () => {},
};

const CAPABILITIES: Capabilities = {
  layers: { lock: 'none', wait: 'none' },
  fairness: 'fifo',
  answersAtOnce: true,
  isSemaphore: false,
};

export const inProcess: Backend = {
  name: undefined,
  capabilities: CAPABILITIES,
  tryAcquire: () => GRANT,
  request: () => ({ start: (done) => done(undefined, GRANT), cancel() {} }),
  isLocked: () => false,
  inspect: () => NO_INSPECTION,
  dispose() {},
};
