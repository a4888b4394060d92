import { loadAddon } from '../native/addon.js';

/**
 * Whether the other end of a socket has closed it, or it is broken, as far as the kernel knows: some milliseconds before
 * the event loop tells of it, or much longer before where that is blocked. False where the addon is not there.
 */
export function hasHungUp(stream: object): boolean {
  const { fd } = (stream as { _handle?: { fd?: number } | null })._handle ?? {};
  return fd !== undefined && fd >= 0 && (loadAddon().api?.hasHungUp(fd) ?? false);
}
