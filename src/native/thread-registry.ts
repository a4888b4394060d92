/** Texts that the threads of a process publish to each other. Without the addon nothing is published. */
import { loadAddon } from './addon.js';

/** Returns a function that takes it back. It is taken back too when the thread ends. */
export function publish(text: string): () => void {
  const addon = loadAddon().api;
  if (addon === undefined) return () => {};
  const place = addon.publish(text);
  return () => addon.unpublish(place);
}

/** What the other threads have published. */
export function published(): string[] {
  return loadAddon().api?.published() ?? [];
}
