/** Which native layers there are, and the switch that turns each of them off. */
import { messageOf } from '../errors.js';

export type LayerName = 'fs-ext' | 'native-fallback';

export interface LayerStatus {
  loaded: boolean;
  /** Why it did not load. */
  reason?: string;
}

/** `FAIRLOCK_DISABLE=fs-ext,native-fallback` does without the layers it names. */
function isDisabled(layer: LayerName): boolean {
  return (process.env.FAIRLOCK_DISABLE ?? '').split(',').some((name) => name.trim() === layer);
}

export type Loaded<T> = { api: T; reason?: undefined } | { api?: undefined; reason: string };

/** Loads once, keeps the answer, and turns every failure into a reason: a missing layer is a normal case. */
export function loader<T>(layer: LayerName, load: () => T): () => Loaded<T> {
  let loaded: Loaded<T> | undefined;
  return () => {
    loaded ??= attempt(layer, load);
    return loaded;
  };
}

function attempt<T>(layer: LayerName, load: () => T): Loaded<T> {
  if (isDisabled(layer)) return { reason: 'switched off by FAIRLOCK_DISABLE' };
  try {
    return { api: load() };
  } catch (error) {
    return { reason: messageOf(error).split('\n')[0] as string }; // Without the list of modules that asked for it.
  }
}

export function statusOf(loaded: Loaded<unknown>): LayerStatus {
  return loaded.reason === undefined ? { loaded: true } : { loaded: false, reason: loaded.reason };
}
