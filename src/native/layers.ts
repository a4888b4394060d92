/** What the native layers come to on this machine, in this thread. */
import { loadLocks } from './addon.js';
import { loadFsExt } from './fs-ext.js';
import { type LayerName, type LayerStatus, statusOf } from './loader.js';

/**
 * Which native layers load in this thread, and why not. `FAIRLOCK_DISABLE=fs-ext,native-fallback` does without them.
 */
export function layers(): Record<LayerName, LayerStatus> {
  return { 'fs-ext': statusOf(loadFsExt()), 'native-fallback': statusOf(loadLocks()) };
}
