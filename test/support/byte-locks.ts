/** Locks of single bytes, as processes have them in the middle of what they do. */
import { closeSync, openSync } from 'node:fs';
import { REMOVAL_BYTE } from '../../src/files/byte-layout.js';
import { GRANTED, needByteRanges } from '../../src/native/addon.js';
import { NativeFile, type NativeFileOptions } from '../../src/native/native-file.js';
import type { LockMode } from '../../src/options.js';

/** See src/files/byte-layout.ts. */
export const REMOVING = { start: REMOVAL_BYTE, length: 1 };
export const ASKING = { start: REMOVAL_BYTE + 1, length: 1 };

/** Locks them (undefined: the file, by flock) as another process would. Returns a function that gives them back. */
export function holdBytes(file: string, range: NativeFileOptions['range'], mode: LockMode = 'exclusive'): () => void {
  const fd = openSync(file, 'a+');
  const lock = new NativeFile(needByteRanges(file, 'a test'), fd, { path: file, followSymlinks: false, range });
  if (lock.tryLock(mode) !== GRANTED) throw new Error(`'${file}' is locked by another process`);
  return () => closeSync(fd);
}
