/** Long searches have a short form in the suite and their long form in the soak (`npm run soak`). */
export const isSoak = process.env.FAIRLOCK_SOAK === '1';

export function rounds(short: number, long: number): number {
  return isSoak ? long : short;
}
