/** The addon: parked waits that can be cancelled, byte-range locks, try and identity check in one call. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { loader } from './layers.js';

/** What the addon makes of an open descriptor; it goes with the garbage. */
export type NativeFile = object & { readonly nativeFile: unique symbol };
export type NativeWait = object & { readonly nativeWait: unique symbol };

/** Anything below zero is a negated errno. */
export const GRANTED = 0;
export const CONTENDED = 1;
/** The open file is not the one at the path any more (and may have been locked). */
export const REPLACED = 2;
/** The sidecar was removed, and the lock let go. */
export const REMOVED = 3;

/** `native-fallback/src/binding.c`. */
export interface NativeFallback {
  readonly hasOfd: boolean;
  file(fd: number, path: string, follow: boolean, ofd: boolean, start: number, length: number): NativeFile;
  isCurrent(file: NativeFile): number;
  tryLock(file: NativeFile, shared: boolean): number;
  unlock(file: NativeFile): number;
  /** For its turn in the line, if there is one, then for the file, if there is one. */
  wait(file: NativeFile | undefined, line: NativeFile | undefined, shared: boolean, callback: (status: number) => void): NativeWait | number;
  waitSync(file: NativeFile, line: NativeFile | undefined, shared: boolean): NativeWait | number;
  join(wait: NativeWait, ms: number): number | undefined;
  cancel(wait: NativeWait): boolean;
  adopt(wait: NativeWait): void;
  /** Like `tryLock`, but contended where anybody stands in line; REMOVED: `probe` is not the sidecar any more. */
  tryFirst(file: NativeFile, probe: NativeFile, shared: boolean): number;
  /** Like `tryLock`, for who has a ticket: contended where anybody has an earlier one. */
  tryTurn(file: NativeFile, line: NativeFile, shared: boolean): number;
  draw(line: NativeFile): number;
  /** Draws as soon as nobody else is drawing. */
  waitToDraw(line: NativeFile, callback: (status: number) => void): NativeWait | number;
  /** GRANTED: nobody has an earlier ticket (or, without a ticket, any). Else CONTENDED or REMOVED. */
  isFirst(line: NativeFile): number;
  /** CONTENDED: somebody else has locked one of its bytes, shared or not. */
  isTaken(file: NativeFile): number;
  drop(line: NativeFile): void;
  removeSidecar(line: NativeFile): number;
  /** How many threads there are, parked or kept for re-use. */
  threads(): number;
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
      return require(file) as NativeFallback;
    } catch (error) {
      tried.push(`${file}: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
    }
  }
  throw new Error(`no binary for ${name} loads; tried ${tried.join('; ')}`);
});
