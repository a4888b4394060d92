/** Long searches have a short form in the suite and their long form in the soak (`npm run soak`). */
export const isSoak = process.env.FAIRLOCK_SOAK === '1';

export function rounds(short: number, long: number): number {
  return isSoak ? long : short;
}

/** A part of many cases of one kind; all of them in the soak. */
export function some<T>(cases: readonly T[], every = 3): T[] {
  return cases.filter((_, i) => isSoak || i % every === 0);
}
