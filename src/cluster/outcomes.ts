/**
 * What `runOnce` knows of a key, and where that is kept: in files beside a lock file, or in the engine of a lock. Either
 * way the same protocol: `read`, then (with the lock held) `reserve`, which refuses before the work is done what could
 * not be recorded after it, then `commit`.
 */
import { chmodSync, mkdirSync, readdirSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { LockRecords } from '../engine/lock.js';
import { codeOf, messageOf } from '../errors.js';
import type { LockPlace } from '../inspect/index.js';
import { quietly } from '../quietly.js';
import { builtins } from '../require.js';
import { type Draft, type Placing, type RecordFs, type RecordOptions, recordOfDraft } from './draft.js';
import { RecordFile } from './record.js';
import { likeLock } from './record-place.js';

export interface Failure {
  name: string;
  message: string;
  stack?: string | undefined;
  code?: string | undefined;
}

export type Done = { done: true; value?: unknown; unstored?: string; at?: number };
export type Failed = { done: false; failures: number; error: Failure; at?: number };
export type Outcome = Done | Failed;

/** What is kept, and for how long. */
export interface Keeping {
  /** Milliseconds, by the time of day. */
  keepFor?: number | undefined;
  /** Outcomes. */
  keepLast?: number | undefined;
}

export interface Reservation {
  /**
   * The outcome of this holder, or, where another one has recorded its own meanwhile, that one: then this holder had
   * lost its lock, or the other one had.
   * @throws {LockLostError} and nothing is recorded
   */
  commit(outcome: Done): Promise<Done>;
  /** Best effort: nothing depends on it. */
  fail(outcome: Failed): Promise<void>;
  /** Always to be called. */
  end(): void;
}

export interface Outcomes {
  read(key: string): Promise<Outcome | undefined>;
  /** Only for the holder of the lock. @param isHeld whether it is still, as far as can be seen at this moment */
  reserve(key: string, isHeld: () => boolean): Promise<Reservation>;
}

const FORMAT = 'fairlock-once 2';
const LEGACY_FORMAT = 'fairlock-once 1';
const REMEDY = 'it says what was done already: repair it, or remove it to have that done again';
/** Room that is made for an outcome before the work is done. */
const OUTCOME_BYTES = 4096;
/** Of so many new outcomes one looks for those that are to go, so that a call costs no more the more there are. */
const TIDY_EVERY = 32;
/** After that, in ms, a draft is one that a killed process has left. */
const DRAFT_IS_LEFT_MS = 3_600_000;

interface Entry {
  /** In plain, so that a file tells what it is of. */
  key: string;
  outcome: Outcome;
}

/** The outcomes of all keys in one file, up to version 1: every call read and wrote all of them. */
interface Legacy {
  keys: Record<string, Outcome>;
}

function isDraft(name: string): boolean {
  return recordOfDraft(name) !== undefined;
}

/** A file for each key, in a folder beside the lock file. */
export class FileOutcomes implements Outcomes {
  constructor(
    private readonly place: LockPlace,
    private readonly options: RecordOptions,
    private readonly keeping: Keeping,
    private readonly fs?: RecordFs,
  ) {}

  async read(key: string): Promise<Outcome | undefined> {
    return this.#read(key);
  }

  async reserve(key: string, isHeld: () => boolean): Promise<Reservation> {
    const options = { ...this.options, like: likeLock(this.place) };
    const folder = this.#makeFolder(options);
    const [record, failures] = [this.#recordOf(key, 'done', options), this.#recordOf(key, 'failed', options)];
    // One that is over (`keepFor`) is replaced. Else an outcome is put in place only where none is: a former holder may
    // have recorded its own since the caller has looked.
    const old = record.read();
    const placing = old !== undefined && isOver(old.outcome, this.keeping) ? 'replace' : 'create';
    const draft = record.draft(OUTCOME_BYTES);
    this.#closeToOlderVersions(options, isHeld);
    return {
      commit: async (outcome) => {
        const entry = { key, outcome: { ...outcome, at: Date.now() } };
        if (!commitOrLess(draft, entry, isHeld, placing))
          return (record.read()?.outcome as Done | undefined) ?? outcome;
        quietly(() => unlinkSync(failures.path));
        this.#tidy(folder);
        return outcome;
      },
      fail: async (outcome) => {
        quietly(() => failures.write({ key, outcome: { ...outcome, at: Date.now() } }, isHeld));
      },
      end: () => draft.end(),
    };
  }

  #read(key: string): Outcome | undefined {
    const found =
      this.#recordOf(key, 'done', this.options).read() ?? this.#recordOf(key, 'failed', this.options).read();
    if (found === undefined) return this.#legacy(key);
    return isOver(found.outcome, this.keeping) ? undefined : found.outcome;
  }

  /** What a process of version 1 has recorded. */
  #legacy(key: string): Outcome | undefined {
    const keys = this.#legacyRecord(this.options).read()?.keys ?? {};
    return Object.hasOwn(keys, key) ? keys[key] : undefined;
  }

  #legacyRecord(options: RecordOptions): RecordFile<Legacy> {
    const path = this.place.sibling('once');
    return new RecordFile<Legacy>(path, FORMAT, isLegacy, REMEDY, options, this.fs, LEGACY_FORMAT);
  }

  /**
   * A process of version 1 would not see what is recorded from now on, and do it again. So the file that it reads says
   * that it is of version 2, which it refuses; what it has recorded stays in it.
   */
  #closeToOlderVersions(options: RecordOptions, isHeld: () => boolean): void {
    quietly(() => {
      const legacy = this.#legacyRecord(options);
      const found = legacy.readVersion();
      if (found?.isOlder === false) return;
      legacy.sweep();
      legacy.write(found?.content ?? { keys: {} }, isHeld);
    });
  }

  #recordOf(key: string, state: 'done' | 'failed', options: RecordOptions): RecordFile<Entry> {
    const name = builtins.crypto.createHash('sha256').update(key).digest('hex').slice(0, 40);
    return new RecordFile<Entry>(
      join(this.#folder, state === 'done' ? name : `${name}.failed`),
      FORMAT,
      (content) => content.key === key && isOutcome(content.outcome),
      REMEDY,
      options,
      this.fs,
    );
  }

  get #folder(): string {
    return this.place.sibling('outcomes');
  }

  #makeFolder({ mode, ignoreUmask, like }: RecordOptions): string {
    const folder = this.#folder;
    const permissions = like?.mode ?? mode;
    const searchable = (permissions & 0o777) | ((permissions & 0o444) >> 2);
    try {
      mkdirSync(folder, searchable);
      if (ignoreUmask || like !== undefined) chmodSync(folder, searchable);
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
    }
    return folder;
  }

  /** From time to time: what is over, what is beyond the last so many, and what killed processes have left. */
  #tidy(folder: string): void {
    const { keepFor, keepLast } = this.keeping;
    const keepsAll = keepFor === undefined && keepLast === undefined;
    const every = keepLast === undefined ? TIDY_EVERY * 8 : Math.max(1, Math.min(TIDY_EVERY, keepLast / 4));
    if (Math.random() * every >= 1) return;
    quietly(() => {
      const now = Date.now();
      const files = readdirSync(folder)
        .filter((name) => !keepsAll || isDraft(name))
        .map((name) => ({ name, at: statSync(join(folder, name)).mtimeMs }))
        .sort((a, b) => b.at - a.at);
      const drafts = files.filter(({ name, at }) => isDraft(name) && now - at > DRAFT_IS_LEFT_MS);
      const outcomes = files.filter(({ name }) => !isDraft(name));
      const old = outcomes.filter(({ at }, i) => i >= (keepLast ?? Infinity) || now - at > (keepFor ?? Infinity));
      for (const { name } of [...drafts, ...old]) quietly(() => unlinkSync(join(folder, name)));
    });
  }
}

/** The engine of a lock keeps a text for each key. */
export class EngineOutcomes implements Outcomes {
  constructor(
    private readonly records: LockRecords,
    private readonly keeping: Keeping,
  ) {}

  async read(key: string): Promise<Outcome | undefined> {
    const text = await this.records.read(key);
    const outcome = text === undefined ? undefined : (JSON.parse(text) as Outcome);
    return outcome === undefined || isOver(outcome, this.keeping) ? undefined : outcome;
  }

  async reserve(key: string, isHeld: () => boolean): Promise<Reservation> {
    const write = async (outcome: Outcome): Promise<void> => {
      if (isHeld()) await this.records.write(key, JSON.stringify({ ...outcome, at: Date.now() }));
    };
    return {
      commit: async (outcome) => {
        await write(outcome);
        return outcome;
      },
      fail: (outcome) => write(outcome).catch(() => {}),
      end: () => {},
    };
  }
}

/** The work is done and must not be done again: if its outcome cannot be stored, there is room for saying that. */
function commitOrLess(
  draft: Draft<Entry>,
  entry: { key: string; outcome: Done },
  isHeld: () => boolean,
  placing: Placing,
): boolean {
  try {
    return draft.commit(entry, isHeld, placing);
  } catch (error) {
    if (codeOf(error) === 'ERR_LOCK_LOST') throw error;
    const { at } = entry.outcome;
    const outcome: Done = { done: true, unstored: messageOf(error), ...(at !== undefined && { at }) };
    return draft.commit({ key: entry.key, outcome }, isHeld, placing);
  }
}

function isOver({ at }: Outcome, { keepFor }: Keeping): boolean {
  return keepFor !== undefined && at !== undefined && Date.now() - at > keepFor;
}

function isOutcome(one: Outcome | undefined): boolean {
  return one?.done === true || (one?.done === false && Number.isInteger(one.failures) && typeof one.error === 'object');
}

function isLegacy({ keys }: Partial<Legacy>): boolean {
  if (typeof keys !== 'object' || keys === null || Array.isArray(keys)) return false;
  return Object.values(keys).every(isOutcome);
}
