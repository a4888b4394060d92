/**
 * Tells of requests that wait for a lock that their own thread holds when nothing is left to do that could release it:
 * without that the process ends with exit code 0, and says nothing. A wait for another process keeps this one alive, and
 * a timeout or signal does too.
 */
import { nameOf, warn } from '../warnings.js';

let waiting = 0;
/** Of the request that came last. */
let path: string | undefined;

/** A request waits. */
export function watchForStranding(pathOfLock: string | undefined): void {
  if (waiting === 0) process.on('beforeExit', tell);
  waiting++;
  path = pathOfLock;
}

/** It waits no more. */
export function endStrandingWatch(): void {
  waiting--;
  if (waiting === 0) process.off('beforeExit', tell);
}

function tell(): void {
  process.off('beforeExit', tell); // The warning is work to do: else it would be told again and again.
  const more = waiting > 1 ? `, and ${waiting - 1} more wait` : '';
  warn(
    'FAIRLOCK_STRANDED',
    `the process ends while a request waits for ${nameOf(path)}, which its own code holds and can release no more${more}`,
  );
}
