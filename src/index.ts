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
export { type Acquirable, acquireAll } from './lock/acquire-all.js';
export { FifoMutex, type FifoMutexOptions } from './lock/fifo-mutex.js';
export type { LockHandle, PermitHandle } from './lock/handle.js';
export { InterProcessLock } from './lock/inter-process-lock.js';
export { InterProcessReaderWriterLock } from './lock/inter-process-reader-writer-lock.js';
export { InterProcessSemaphore, type SemaphoreInspection } from './lock/inter-process-semaphore.js';
export { lockBeside } from './lock/lock-beside.js';
export type { LockInspection } from './lock/path-lock.js';
export { ReaderWriterLock, type ReaderWriterLockOptions } from './lock/reader-writer-lock.js';
export type { AcquireOptions, InterProcessLockOptions, InterProcessSemaphoreOptions, LockParty, MechanismName, WaitInfo } from './options.js';
export type { Clock } from './queue/clock.js';
