/** The addon: parked waits that can be cancelled, byte-range locks, try and identity check in one call. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { LockUnsupportedError } from '../errors.js';
import { loader } from './layers.js';

/** What the addon makes of an open descriptor; it goes with the garbage. */
export type NativeFile = object & { readonly nativeFile: unique symbol };

/** Anything below zero is a negated errno. */
export const GRANTED = 0;
export const CONTENDED = 1;
/** The open file is not the one at the path any more (and may have been locked). */
export const REPLACED = 2;
/** The sidecar was removed, and the lock let go. */
export const REMOVED = 3;

/** What the glue in `native-fallback/src` offers. Waits are numbers; below zero, a negated errno. */
export interface NativeFallback {
  readonly hasOfd: boolean;
  file(fd: number, path: string, follow: boolean, ofd: boolean, start: number, length: number): NativeFile;
  isCurrent(file: NativeFile): number;
  tryLock(file: NativeFile, shared: boolean): number;
  unlock(file: NativeFile): number;
  /** For its turn in the line, if there is one, then for the file, if there is one. */
  wait(file: NativeFile | undefined, line: NativeFile | undefined, shared: boolean): number;
  waitSync(file: NativeFile, line: NativeFile | undefined, shared: boolean): number;
  join(wait: number, ms: number): number | undefined;
  cancel(wait: number): boolean;
  adopt(wait: number): void;
  onFinished(callback: (wait: number, status: number) => void): void;
  /** Like `tryLock`, but contended where anybody stands in line; REMOVED: `probe` is not the sidecar any more. */
  tryFirst(file: NativeFile, probe: NativeFile, shared: boolean): number;
  /** Like `tryLock`, for who has a ticket: contended where anybody has an earlier one. */
  tryTurn(file: NativeFile, line: NativeFile, shared: boolean): number;
  draw(line: NativeFile): number;
  /** Draws as soon as nobody else is drawing. */
  waitToDraw(line: NativeFile): number;
  /** GRANTED: nobody has an earlier ticket (or, without a ticket, any). Else CONTENDED or REMOVED. */
  isFirst(line: NativeFile): number;
  /** CONTENDED: somebody else has locked one of its bytes, shared or not. */
  isTaken(file: NativeFile): number;
  drop(line: NativeFile): void;
  removeSidecar(line: NativeFile): number;
  /** Becomes another program, which inherits the descriptor. Returns only if that fails, with a negated errno. */
  exec(file: string, argv: string[], envp: string[], fd: number): number;
  /** Puts a text up where the other threads of this process can read it. Its place. */
  post(text: string): number;
  removePost(place: number): void;
  /** What the other threads have put up. */
  posts(): string[];
  /** How many threads there are, parked or kept for re-use. */
  threads(): number;
}

/** Whom to tell when a wait is over. What the entry refers to, its files too, lives as long as the wait. */
const waiting = new Map<number, NativeWait>();

function finished(id: number, status: number): void {
  const wait = waiting.get(id);
  waiting.delete(id);
  wait?.callback(status);
}

/** A wait on a thread of the addon. */
export class NativeWait {
  readonly #id: number;

  /**
   * For its turn in the line, if there is one, then for the file, if there is one; or, with `draw`, for a ticket.
   * @throws system errors: EMFILE (no descriptor), EAGAIN (no thread)
   */
  constructor(
    private readonly addon: NativeFallback,
    readonly files: { readonly file?: NativeFile | undefined; readonly line?: NativeFile | undefined; readonly draw?: boolean },
    shared: boolean,
    error: (errno: number) => Error,
    readonly callback: (status: number) => void,
  ) {
    const { file, line, draw } = files;
    this.#id = draw && line !== undefined ? addon.waitToDraw(line) : addon.wait(file, line, shared);
    if (this.#id < 0) throw error(-this.#id);
    waiting.set(this.#id, this);
  }

  /** False: it cannot be interrupted and goes on, but keeps no process alive. */
  cancel(): boolean {
    if (waiting.get(this.#id) !== this) return true;
    const cancelled = this.addon.cancel(this.#id);
    if (cancelled) waiting.delete(this.#id);
    return cancelled;
  }

  adopt(): void {
    this.addon.adopt(this.#id);
  }
}

export const loadNativeFallback = loader('native-fallback', (): NativeFallback => {
  const name = `${process.platform}-${process.arch}`;
  // Your own build first. The musl binary does not load on glibc nor the other way round, so both can be tried.
  const candidates = ['build/Release/fairlock.node', `prebuilds/${name}.node`, `prebuilds/${name}-musl.node`];
  const require = createRequire(import.meta.url);
  const tried: string[] = [];
  for (const candidate of candidates) {
    const file = fileURLToPath(new URL(`../../native-fallback/${candidate}`, import.meta.url));
    try {
      const addon = require(file) as NativeFallback;
      addon.onFinished(finished);
      return addon;
    } catch (error) {
      tried.push(`${file}: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
    }
  }
  throw new Error(`no binary for ${name} loads; tried ${tried.join('; ')}`);
});

/** The addon, for what cannot be done without its byte-range locks. @throws {LockUnsupportedError} */
export function needByteRanges(path: string, what: string): NativeFallback {
  const { api: addon, reason } = loadNativeFallback();
  if (addon === undefined) throw new LockUnsupportedError(path, `${what} needs the addon native-fallback, which did not load: ${reason}`);
  if (!addon.hasOfd) throw new LockUnsupportedError(path, `${what} needs open-file-description locks, which ${process.platform} does not have`);
  return addon;
}
