export type { Clock } from './core/clock.js';
export type {
  CancelEvent as LockCancelEvent,
  GrantEvent as LockGrantEvent,
  LockEvent,
  LossEvent as LockLossEvent,
  QueuedEvent as LockQueuedEvent,
  ReleaseEvent as LockReleaseEvent,
  RequestEvent as LockRequestEvent,
  StealEvent as LockStealEvent,
} from './core/events.js';
export type { LockHandle, PermitHandle, ProcessLockHandle } from './core/handle.js';
export type { Lock } from './engine/lock.js';
export {
  LockClosedError,
  LockDeadlockError,
  LockEngineError,
  LockError,
  LockLostError,
  LockMismatchError,
  LockTimeoutError,
  LockUnsupportedError,
} from './errors.js';
export { type Acquirable, acquireAll } from './locks/acquire-all.js';
export { FifoMutex, type FifoMutexOptions } from './locks/fifo-mutex.js';
export type { LockInspection } from './locks/file-lock.js';
export { InterProcessLock } from './locks/inter-process-lock.js';
export { InterProcessReaderWriterLock } from './locks/inter-process-reader-writer-lock.js';
export { InterProcessSemaphore, type SemaphoreInspection } from './locks/inter-process-semaphore.js';
export { lockBeside } from './locks/lock-beside.js';
export { ReaderWriterLock, type ReaderWriterLockOptions } from './locks/reader-writer-lock.js';
export { setNativeBinding } from './native/addon.js';
export { layers } from './native/layers.js';
export type { LayerName, LayerStatus } from './native/loader.js';
export type {
  AcquireOptions,
  InterProcessLockOptions,
  InterProcessSemaphoreOptions,
  LockParty,
  MechanismName,
  WaitInfo,
} from './options.js';
