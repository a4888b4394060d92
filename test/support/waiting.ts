/**
 * A state that does not come is a failure of its own, with the place that waited, long before the test's time limit.
 */
const LIMIT_MS = 45_000;
const LONGEST_PAUSE_MS = 10;

/**
 * Waits for a state: looks at once, then again after a turn of the event loop, then after pauses that grow to 10 ms,
 * and are no shorter than a look, so that a wait costs no processor that the processes waited for need.
 */
export async function until<T>(look: () => T | Promise<T>): Promise<Exclude<T, false | null | undefined | '' | 0>> {
  const place = new Error('the state that was waited for did not come');
  const end = performance.now() + LIMIT_MS;
  for (let pause = 0; ; pause = Math.min(pause === 0 ? 0.25 : pause * 2, LONGEST_PAUSE_MS)) {
    const looked = performance.now();
    const seen = await look();
    // Not what is empty: the output of a program that has found nothing yet, a number that is none.
    if (seen) return seen as Exclude<T, false | null | undefined | '' | 0>;
    if (performance.now() > end) throw place;
    const looking = performance.now() - looked;
    await new Promise<void>((resolve) => {
      if (pause < 1) setImmediate(resolve);
      else setTimeout(resolve, Math.max(pause, looking));
    });
  }
}

/** Lets everything run that is already due. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** What a promise came to, for tests that look without waiting. */
export function outcome<T>(promise: Promise<T>): {
  state: 'pending' | 'fulfilled' | 'rejected';
  value?: T;
  reason?: unknown;
} {
  const seen: { state: 'pending' | 'fulfilled' | 'rejected'; value?: T; reason?: unknown } = { state: 'pending' };
  promise.then(
    (value) => Object.assign(seen, { state: 'fulfilled', value }),
    (reason) => Object.assign(seen, { state: 'rejected', reason }),
  );
  return seen;
}
