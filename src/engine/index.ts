/** fairlock/engine: for those who add a lock service of their own, and locks in two layers. */
export type { Engine, EngineGrant, EngineRequest } from './engine.js';
export {
  type EngineInspection,
  EngineLock,
  type EngineLockOptions,
  EngineQueues,
  EngineReaderWriterLock,
  EngineSemaphore,
  type FencedHandle,
} from './engine-lock.js';
export { EngineLocks } from './engine-locks.js';
export { layered } from './layered.js';
export type { Lock, LockRecords } from './lock.js';
