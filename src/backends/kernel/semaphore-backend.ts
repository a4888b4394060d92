/** A semaphore behind the queue of its thread. */
import type { Backend, Capabilities, Grant, Inspection, PendingAcquire, SyncWaitable } from '../../core/backend.js';
import { openToLook } from '../../files/lock-file.js';
import { coversAny, locksUnlessOpened } from '../../inspect/lock-list.js';
import { inspection } from '../../inspect/looking.js';
import { semaphoreParties } from '../../inspect/proc-locks.js';
import { CONTENDED } from '../../native/addon.js';
import type { LockMode } from '../../options.js';
import type { ProcessOrder } from '../order/process-order.js';
import type { PathState } from '../path-state.js';
import { pollSync } from '../poll.js';
import { PendingPermit } from './pending-permit.js';
import type { Permits } from './permits.js';

export class SemaphoreBackend implements Backend, SyncWaitable {
  readonly name = 'fcntl';

  constructor(
    private readonly permits: Permits,
    private readonly state: PathState,
    private readonly order: ProcessOrder,
  ) {}

  get capabilities(): Capabilities {
    const layers = { lock: 'native-fallback', wait: 'native-fallback' } as const;
    return { layers, fairness: this.order.fairness, answersAtOnce: true, isSemaphore: true };
  }

  tryAcquire(): Grant | null {
    // Queued requests come first. One that is queued after this look has asked later.
    try {
      if (this.order.queue?.sidecar.look((open) => open.isFirst()) === CONTENDED) return null;
    } catch (error) {
      if (!this.order.doWithout(error)) throw error;
    }
    return this.permits.try();
  }

  /** All requests are shared ones in the queue of a thread; between processes each wants a permit for itself. */
  request(_mode: LockMode, onQueued?: () => void): PendingAcquire {
    const turn = this.order.takeTurn('exclusive', onQueued);
    return new PendingPermit(this.permits, this.order, turn, () => this.tryAcquire());
  }

  /** No permit is free. */
  isLocked(): boolean {
    const { permits } = this;
    const shown = locksUnlessOpened(permits.path, this.name);
    if (shown !== undefined)
      return this.#areTaken((permit) => shown.some((line) => coversAny(line, { start: permit, length: 1 })));
    const file = openToLook(permits.file);
    if (file === undefined) return false;
    try {
      return this.#areTaken((permit) => permits.bytes(file, permit, 1).isLocked());
    } catch (error) {
      throw permits.explained(error);
    } finally {
      file.close();
    }
  }

  inspect(): Inspection {
    const { path, followSymlinks } = this.permits.file;
    const sidecar = this.order.queue?.sidecar.path;
    const look = () => semaphoreParties(path, followSymlinks, sidecar);
    return inspection(look, { underWay: this.state.looks, key: `semaphore ${sidecar}` });
  }

  waitSync(_mode: LockMode, timeout: number): Grant | null {
    return pollSync(() => this.tryAcquire(), timeout);
  }

  overlapsHeld(): boolean {
    return false;
  }

  dispose(): void {
    this.order.queue?.sidecar.dispose();
  }

  #areTaken(isTaken: (permit: number) => boolean): boolean {
    for (let permit = 0; permit < this.permits.count; permit++) if (!isTaken(permit)) return false;
    return true;
  }
}
