export { layers } from './binding/binding.js';
export type { LayerName, LayerStatus } from './binding/layers.js';
export {
  LockClosedError,
  LockDeadlockError,
  LockError,
  LockLostError,
  LockMismatchError,
  LockTimeoutError,
  LockUnsupportedError,
} from './errors.js';
export { FifoMutex, type FifoMutexOptions } from './lock/fifo-mutex.js';
export type { LockHandle } from './lock/handle.js';
export { InterProcessLock, type LockInspection } from './lock/inter-process-lock.js';
export type { AcquireOptions, InterProcessLockOptions, LockParty, MechanismName, WaitInfo } from './options.js';
export type { Clock } from './queue/clock.js';
