/** Warnings of this library: they have a code, and go where the process sends its warnings. */
const told = new Set<string>();

export function warn(code: `FAIRLOCK_${string}`, text: string): void {
  process.emitWarning(text, { type: 'FairlockWarning', code });
}

/** Of each code the first only. The text is made if it is told. */
export function warnOnce(code: `FAIRLOCK_${string}`, text: () => string): void {
  if (told.has(code)) return;
  told.add(code);
  warn(code, text());
}

/** What a lock is called in them. */
export function nameOf(path: string | undefined): string {
  return path === undefined ? 'an in-process lock' : `the lock '${path}'`;
}
