/**
 * A small JSON file beside a lock, written only by the holder of the lock and read by any process at any time. It is put
 * in place as a whole, under a name that no other writer uses, flushed before it is known. A process that is killed at
 * whatever step leaves the old record or the new one, never half of one.
 *
 * A holder may lose its lock without knowing (it was stopped, and its lock file removed or stolen), and go on:
 *     1. A holds the lock and makes its draft. 2. A is stopped; the lock is lost. 3. B holds it, and makes its own draft.
 *     4. A goes on.
 * So drafts have names of their own, and A compares (`isHeld`) after its draft is on the disk and before that gets the
 * record's name: it finds that the lock is lost, and takes the draft away. Should A be stopped between that comparison
 * and the renaming, which are two system calls, the record becomes A's after B's: whole, and older. What may not go back
 * does not depend on it: an outcome is put in place only where none is (`create`), a token is also as great as the time
 * of day (leader-record.ts).
 */
import nodeFs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { codeOf, RecordDamagedError, systemError } from '../errors.js';
import { MARK } from '../inspect/index.js';
import { quietly } from '../quietly.js';
import { builtins } from '../require.js';
import { Draft, MOST_BYTES, type RecordFs, type RecordOptions, recordOfDraft } from './draft.js';

const { O_RDONLY } = nodeFs.constants;
const O_NONBLOCK = nodeFs.constants.O_NONBLOCK ?? 0;
const O_NOFOLLOW = nodeFs.constants.O_NOFOLLOW ?? 0;

export class RecordFile<T extends object> {
  constructor(
    readonly path: string,
    /** What it is, with the version behind it: `fairlock-once 2`. */
    private readonly format: string,
    private readonly isValid: (content: Partial<T>) => boolean,
    /** What to do about a damaged one. */
    private readonly remedy: string,
    private readonly options: RecordOptions,
    private readonly fs: RecordFs = nodeFs,
    /** Of an older version, which is read too. */
    private readonly olderFormat?: string,
  ) {}

  /** Undefined where there is none yet. @throws {RecordDamagedError} also of a newer version, which it names */
  read(): T | undefined {
    return this.readVersion()?.content;
  }

  /** The content, and whether it is of the older version. */
  readVersion(): { content: T; isOlder: boolean } | undefined {
    const text = this.#text();
    if (text === undefined) return undefined;
    let content: unknown;
    try {
      content = JSON.parse(text);
    } catch {
      // JSON.parse quotes what it read, which may be another file by a link or its like.
      throw this.#damaged(text === '' ? 'it is empty' : 'it is not JSON');
    }
    const { format, ...rest } = (typeof content === 'object' && content !== null ? content : {}) as {
      format?: unknown;
    } & Partial<T>;
    const isOlder = this.olderFormat !== undefined && format === this.olderFormat;
    if (format !== this.format && !isOlder) throw this.#damaged(this.#whyNot(format));
    if (!this.isValid(rest as Partial<T>)) throw this.#damaged('fields are missing or of the wrong type');
    return { content: rest as T, isOlder };
  }

  /**
   * The record's next content, whose file is made, and its space taken, before that is known. What can keep a record
   * from being written (the name, permissions, space) comes out here.
   * @param room bytes for it
   */
  draft(room = 0): Draft<T> {
    this.#checkReplaceable();
    return new Draft(this.path, this.format, this.options, this.fs, room);
  }

  /**
   * Removes the drafts that killed writers have left. Only for the holder of the lock: what is there is of processes that
   * are dead, or that have lost the lock. Where the folder cannot be read they stay.
   */
  sweep(): void {
    const folder = dirname(this.path);
    const own = basename(this.path);
    quietly(() => {
      for (const name of nodeFs.readdirSync(folder)) {
        if (recordOfDraft(name) === own) quietly(() => nodeFs.unlinkSync(join(folder, name)));
      }
    });
  }

  /** @throws as `Draft.commit`; the old record is as it was */
  write(content: T, isHeld: () => boolean, durable = true): void {
    const draft = this.draft();
    try {
      draft.commit(content, isHeld, 'replace', durable);
    } finally {
      draft.end();
    }
  }

  /** Opened without blocking (a FIFO) and without following (a link to a secret or to a device without end). */
  #text(): string | undefined {
    let fd: number;
    try {
      fd = nodeFs.openSync(this.path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      if (codeOf(error) === 'ELOOP') throw this.#damaged('it is a symbolic link');
      throw error;
    }
    try {
      const stat = nodeFs.fstatSync(fd);
      if (!stat.isFile()) throw this.#damaged('it is no regular file');
      if (stat.size > MOST_BYTES) throw this.#damaged(`it is larger than ${MOST_BYTES} bytes`);
      return nodeFs.readFileSync(fd, 'utf8');
    } finally {
      nodeFs.closeSync(fd);
    }
  }

  /** In a sticky folder another user's file cannot be replaced. */
  #checkReplaceable(): void {
    const [user, record, folder] = [
      process.geteuid?.(),
      nodeFs.lstatSync(this.path, { throwIfNoEntry: false }),
      nodeFs.statSync(dirname(this.path)),
    ];
    if (record?.isDirectory()) throw systemError(builtins.errno.EISDIR, 'rename', this.path);
    if (record === undefined || user === undefined || user === 0 || (folder.mode & MARK) === 0) return;
    if (record.uid === user || folder.uid === user) return;
    const error = systemError(builtins.errno.EPERM, 'rename', this.path);
    const advice =
      'in a sticky folder only its owner can replace it; use a folder without the sticky bit that the ' +
      'users share by a group';
    throw Object.assign(error, { message: `${error.message} (${advice})` });
  }

  #whyNot(format: unknown): string {
    const kind = this.format.replace(/ \d+$/, '');
    const isOtherVersion = typeof format === 'string' && format.startsWith(`${kind} `);
    return isOtherVersion
      ? `it is a '${format}', and this version of fairlock writes '${this.format}'`
      : `it is no '${this.format}'`;
  }

  #damaged(why: string): RecordDamagedError {
    return new RecordDamagedError(this.path, why, this.remedy);
  }
}
