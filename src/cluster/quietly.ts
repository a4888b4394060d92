/** For what is worth a try, and no more. */
export function quietly(step: () => void): void {
  try {
    step();
  } catch {
    // What matters more is done, or thrown already.
  }
}
