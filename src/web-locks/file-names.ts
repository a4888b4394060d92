/**
 * Any string is the name of a lock, and every name has a file of its own, whatever the file system makes of capitals,
 * accents, dots or names that are reserved.
 *
 *     n-…   the name itself: a-z, 0-9, _ and - as they are, any other UTF-16 code unit as %xx or %uxxxx
 *     h-…   SHA-256 of a name for which that would be too long
 */
import { createHash } from 'node:crypto';

/** With what is put before and after it for the files beside it, a name stays below 255 bytes. */
const LONGEST = 180;

export function fileNameOf(name: string): string {
  const spelled = name.length > LONGEST ? undefined : name.replace(/[^a-z0-9_-]/g, escaped);
  if (spelled !== undefined && spelled.length <= LONGEST) return `n-${spelled}`;
  return `h-${createHash('sha256').update(Buffer.from(name, 'utf16le')).digest('hex')}`;
}

/** Undefined where only the hash is known, or it is no file of a lock. */
export function nameOf(fileName: string): string | undefined {
  if (!fileName.startsWith('n-')) return undefined;
  return fileName.slice(2).replace(/%u([0-9a-f]{4})|%([0-9a-f]{2})/g, (_, four?: string, two?: string) => {
    return String.fromCharCode(Number.parseInt(four ?? two ?? '', 16));
  });
}

function escaped(unit: string): string {
  const code = unit.charCodeAt(0);
  return code < 0x100 ? `%${code.toString(16).padStart(2, '0')}` : `%u${code.toString(16).padStart(4, '0')}`;
}
