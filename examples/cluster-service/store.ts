// What the leader writes to: a file that refuses a fencing token smaller than one it has seen. A database does the same
// with "UPDATE … WHERE token <= ?".
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { type InterProcessLock, lockBeside } from 'fairlock';

export interface Stored {
  token: number;
  jobs: number;
  by: number;
}

export class StaleTokenError extends Error {}

export class Store {
  readonly #lock: InterProcessLock;

  constructor(private readonly file: string) {
    this.#lock = lockBeside(file);
  }

  read(): Stored {
    try {
      return JSON.parse(readFileSync(this.file, 'utf8')) as Stored;
    } catch {
      return { token: 0, jobs: 0, by: 0 };
    }
  }

  /** @throws {StaleTokenError} a process with a greater token has written: the caller leads no more */
  async recordJob(token: number): Promise<Stored> {
    return this.#lock.withLock(() => {
      const { token: seen, jobs } = this.read();
      if (token < seen) throw new StaleTokenError(`token ${token} is stale: ${seen} was here`);
      const stored = { token, jobs: jobs + 1, by: process.pid };
      writeFileSync(`${this.file}.new`, JSON.stringify(stored));
      renameSync(`${this.file}.new`, this.file);
      return stored;
    });
  }
}
