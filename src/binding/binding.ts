/** What the native layers come to on this machine, in this thread. */
import { loadFsExt } from './fs-ext.js';
import { type LayerName, type LayerStatus, statusOf } from './layers.js';

/** Which native layers load, and why not. */
export function layers(): Partial<Record<LayerName, LayerStatus>> {
  return { 'fs-ext': statusOf(loadFsExt()) };
}
