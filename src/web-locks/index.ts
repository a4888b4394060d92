/** fairlock/web-locks: the Web Locks API between processes. */
export { Lock, type LockMode } from './lock.js';
export { LockManager } from './lock-manager.js';
export type { LockGrantedCallback, LockInfo, LockManagerSnapshot, LockOptions } from './types.js';
