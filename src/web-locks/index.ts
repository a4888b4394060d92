/** fairlock/web-locks: the Web Locks API between processes. */
export { Lock } from './lock.js';
export { LockManager } from './lock-manager.js';
export type { LockGrantedCallback, LockInfo, LockManagerSnapshot, LockMode, LockOptions } from './types.js';
