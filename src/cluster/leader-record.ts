/** The record of the leader, with the fencing token: one number for each term, never the same twice. */
import { ownCommand } from '../command-line.js';
import type { InterProcessLock, LockHandle } from '../index.js';
import type { LockPlace } from '../inspect/index.js';
import { quietly } from '../quietly.js';
import { builtins } from '../require.js';
import type { RecordFs, RecordOptions } from './draft.js';
import { RecordFile } from './record.js';
import { checkedPlace, isHeld, likeLock, placeFor } from './record-place.js';

/** The process that leads. */
export interface Leader {
  /**
   * 0: the leader cannot be seen from here (another PID namespace, another user); then the rest is what it wrote last.
   */
  pid: number;
  /** Its machine, where the lock is one of an engine. */
  host?: string;
  /** 0 for the main thread, else `threadId` of the Worker. */
  thread: number;
  /** Its program and script, without arguments. */
  command: string;
  /** When its term began. */
  since: Date;
  /** The fencing token of its term. */
  token: number;
}

interface Entry {
  token: number;
  leader: { pid: number; thread: number; command: string; since: string } | null;
}

export class LeaderRecord {
  constructor(
    private readonly lock: InterProcessLock,
    /** Instead of those of the lock. */
    private readonly permissions: Partial<Pick<RecordOptions, 'mode' | 'ignoreUmask'>> = {},
    private readonly fs?: RecordFs,
  ) {}

  #recordAt(place: LockPlace): RecordFile<Entry> {
    const remedy =
      'no candidate leads until it is repaired or removed (then the tokens go on from the time of day in ms)';
    const like = this.permissions.mode === undefined ? likeLock(place) : undefined;
    const options = { ...place.options, ...this.permissions, like };
    return new RecordFile(place.sibling('leader'), 'fairlock-leader 1', isEntry, remedy, options, this.fs);
  }

  /** The process whose term began last and was not ended in the record: the leader, or a process that died. */
  lastLeader(): Leader | null {
    const place = placeFor(this.lock);
    place.look();
    const entry = this.#recordAt(place).read();
    if (entry === undefined || entry.leader === null) return null;
    return { ...entry.leader, since: new Date(entry.leader.since), token: entry.token };
  }

  /**
   * Begins a term. Only for the holder of the lock, so no other process takes a token meanwhile. The token is handed
   * out after it is on the disk, and if the lock is held still; a process that dies before that has wasted a number.
   *
   * A token is greater than the one in the record, and no less than the time of day in ms. So the tokens grow also where
   * the folder was cleared, and where a former leader, stopped between its last look at its lock and the renaming, has
   * put its older record over a newer one (unless there was more than one term per millisecond, or the clock was set
   * back).
   * @throws {LockLostError} the lock was lost meanwhile, and there is no term
   */
  beginTerm(since: Date, handle: LockHandle): number {
    const record = this.#recordAt(checkedPlace(this.lock));
    record.sweep();
    const token = Math.max((record.read()?.token ?? 0) + 1, Date.now());
    const leader = {
      pid: process.pid,
      thread: builtins.workerThreads.threadId,
      command: ownCommand(),
      since: since.toISOString(),
    };
    record.write({ token, leader }, () => isHeld(handle));
    handle.check();
    return token;
  }

  /** Ends a term, for readers of the record; nothing depends on it. Only for the holder of the lock. */
  endTerm(token: number, handle: LockHandle): void {
    quietly(() => {
      const record = this.#recordAt(placeFor(this.lock));
      if (record.read()?.token === token) record.write({ token, leader: null }, () => isHeld(handle), false);
    });
  }
}

function isEntry({ token, leader }: Partial<Entry>): boolean {
  return Number.isSafeInteger(token) && Number(token) > 0 && (leader === null || Number.isInteger(leader?.pid));
}
