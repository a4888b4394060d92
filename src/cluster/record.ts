/**
 * A small JSON file beside a lock, written only by who holds the lock and read by anybody at any time. It is replaced
 * as a whole: written under another name, flushed to the disk, renamed over the old one. Whoever is killed at whatever
 * step leaves the old record or the new one, never half of one.
 */
import { closeSync, constants, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { codeOf, RecordDamagedError } from '../errors.js';

const { O_WRONLY, O_CREAT, O_EXCL } = constants;

export class RecordFile<T extends object> {
  constructor(
    readonly path: string,
    /** Tells the record from anything else, and its version. */
    private readonly format: string,
    private readonly isValid: (content: Partial<T>) => boolean,
    /** What to do about a damaged one. */
    private readonly remedy: string,
    private readonly mode: number,
  ) {}

  /** Undefined where there is none yet. @throws {RecordDamagedError} */
  read(): T | undefined {
    let text: string;
    try {
      text = readFileSync(this.path, 'utf8');
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
    let content: unknown;
    try {
      content = JSON.parse(text);
    } catch (error) {
      throw this.#damaged(text === '' ? 'it is empty' : (error as Error).message);
    }
    const { format, ...rest } = (typeof content === 'object' && content !== null ? content : {}) as { format?: unknown } & Partial<T>;
    if (format !== this.format) throw this.#damaged(`it is no '${this.format}'`);
    if (!this.isValid(rest as Partial<T>)) throw this.#damaged('fields are missing or of the wrong type');
    return rest as T;
  }

  /** @param durable whether it must outlive a loss of power, not only of the process */
  write(content: T, durable = true): void {
    const fresh = `${this.path}.new`;
    // What a killed writer left. With O_EXCL nobody else's file or link is written through.
    rmSync(fresh, { force: true });
    const fd = openSync(fresh, O_WRONLY | O_CREAT | O_EXCL, this.mode);
    try {
      writeSync(fd, `${JSON.stringify({ format: this.format, ...content })}\n`);
      if (durable) fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(fresh, this.path);
    if (durable) flushFolder(dirname(this.path));
  }

  #damaged(why: string): RecordDamagedError {
    return new RecordDamagedError(this.path, why, this.remedy);
  }
}

/** The renaming itself is on the disk when the folder is. Windows cannot open one. */
function flushFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const fd = openSync(folder, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
