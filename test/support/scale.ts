/**
 * Long searches have a short form in the suite and their long form in the soak (`npm run soak`). The soak of `.ci/run`
 * (FAIRLOCK_SOAK=part) is an eighth as long, and of many cases of one kind takes a part that the suite does not.
 */
const soak = process.env.FAIRLOCK_SOAK;
export const isPart = soak === 'part';
export const isSoak = soak === '1' || isPart;

export function rounds(short: number, long: number): number {
  // A multiple of the short form: tests divide it among processes.
  if (isPart) return Math.max(1, Math.round((short + (long - short) / 8) / short)) * short;
  return isSoak ? long : short;
}

/** A part of many cases of one kind; all of them in the soak. */
export function some<T>(cases: readonly T[], every = 3): T[] {
  if (soak === '1') return [...cases];
  const part = cases.filter((_, i) => i % every === (isSoak ? 1 : 0));
  return part.length > 0 ? part : cases.slice(0, 1);
}
