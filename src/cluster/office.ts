/** The record of who leads, with the fencing token: one number for each term, never the same twice. */
import { threadId } from 'node:worker_threads';
import { besides } from '../file/paths.js';
import { RecordFile } from './record.js';

/** Who leads. */
export interface Leader {
  pid: number;
  /** 0 for the main thread, else `threadId` of the Worker. */
  thread: number;
  /** Its command line. */
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

export class Office {
  readonly #record: RecordFile<Entry>;

  constructor(canonical: string, mode: number) {
    const remedy = 'nobody leads until it is mended or removed (then the tokens go on from the time of day in ms)';
    this.#record = new RecordFile(besides(canonical, 'leader'), 'fairlock-leader 1', isEntry, remedy, mode);
  }

  /** Who wrote itself in last and did not write itself out: the leader, or one that died. */
  occupant(): Leader | null {
    const entry = this.#record.read();
    if (entry === undefined || entry.leader === null) return null;
    return { ...entry.leader, since: new Date(entry.leader.since), token: entry.token };
  }

  /**
   * Takes office. Only for the holder of the lock: so nobody else draws meanwhile. The token is handed out after it is
   * on the disk; who dies before that has wasted a number, and who dies between reading and writing has wasted none.
   *
   * The first token of all is the time of day: should somebody clear the folder, then those to come are greater than
   * those before all the same (unless there was more than one term per millisecond, or the clock was set back).
   */
  enter(since: Date): number {
    const token = (this.#record.read()?.token ?? Date.now()) + 1;
    const command = process.argv.join(' ');
    this.#record.write({ token, leader: { pid: process.pid, thread: threadId, command, since: since.toISOString() } });
    return token;
  }

  /** Leaves office, for who reads the record; nothing depends on it. Only for the holder of the lock. */
  leave(token: number): void {
    try {
      if (this.#record.read()?.token === token) this.#record.write({ token, leader: null }, false);
    } catch {
      // The folder was removed or filled up: who reads it finds that the one named there holds no lock.
    }
  }
}

function isEntry({ token, leader }: Partial<Entry>): boolean {
  return Number.isSafeInteger(token) && Number(token) > 0 && (leader === null || Number.isInteger(leader?.pid));
}
