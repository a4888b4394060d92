/** The record of the leader, with the fencing token: one number for each term, never the same twice. */
import { threadId } from 'node:worker_threads';
import { withoutArguments } from '../command-line.js';
import { canonicalPath, siblingPath } from '../inspect/index.js';
import { RecordFile, type RecordOptions } from './record.js';
import { recordPlace } from './record-place.js';

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
    /** Of the lock file. */
    private readonly path: string,
    private readonly options: RecordOptions & { followSymlinks: boolean },
  ) {}

  #recordBeside(canonical: string): RecordFile<Entry> {
    const remedy =
      'no candidate leads until it is repaired or removed (then the tokens go on from the time of day in ms)';
    return new RecordFile(siblingPath(canonical, 'leader'), 'fairlock-leader 1', isEntry, remedy, this.options);
  }

  /** The process whose term began last and was not ended in the record: the leader, or a process that died. */
  lastLeader(): Leader | null {
    const entry = this.#recordBeside(canonicalPath(this.path, this.options.followSymlinks)).read();
    if (entry === undefined || entry.leader === null) return null;
    return { ...entry.leader, since: new Date(entry.leader.since), token: entry.token };
  }

  /**
   * Begins a term. Only for the holder of the lock, so no other process takes a token meanwhile. The token is handed
   * out after it is on the disk; a process that dies before that has wasted a number at most.
   *
   * The first token of all is the time of day: should the folder be cleared, then those to come are greater than those
   * before all the same (unless there was more than one term per millisecond, or the clock was set back).
   */
  beginTerm(since: Date): number {
    const record = this.#recordBeside(recordPlace(this.path, this.options.followSymlinks));
    const token = (record.read()?.token ?? Date.now()) + 1;
    const command = withoutArguments(process.argv.join(' '));
    record.write({ token, leader: { pid: process.pid, thread: threadId, command, since: since.toISOString() } });
    return token;
  }

  /** Ends a term, for readers of the record; nothing depends on it. Only for the holder of the lock. */
  endTerm(token: number): void {
    try {
      const record = this.#recordBeside(canonicalPath(this.path, this.options.followSymlinks));
      if (record.read()?.token === token) record.write({ token, leader: null }, false);
    } catch {
      // The folder was removed or filled up: a reader finds that the process named there holds no lock.
    }
  }
}

function isEntry({ token, leader }: Partial<Entry>): boolean {
  return Number.isSafeInteger(token) && Number(token) > 0 && (leader === null || Number.isInteger(leader?.pid));
}
