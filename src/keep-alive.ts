/** Keeps the process alive while something is waited for that does not: a timer or a connection that was unref'ed. */
import { clearInterval, setInterval } from './timers.js';

const LONGEST_MS = 2 ** 31 - 1;
let count = 0;
let keeper: NodeJS.Timeout | undefined;

/** Once with 1 when it begins, and once with -1 when it ends. */
export function keepAlive(change: 1 | -1): void {
  count += change;
  if (count > 0) keeper ??= setInterval(() => {}, LONGEST_MS);
  else {
    clearInterval(keeper);
    keeper = undefined;
  }
}

/** Until the promise is settled. */
export async function keepingAlive<T>(promise: Promise<T>): Promise<T> {
  keepAlive(1);
  try {
    return await promise;
  } finally {
    keepAlive(-1);
  }
}
