/** For what is worth a try, and no more: what it returns, undefined where it fails. */
export function quietly<T>(step: () => T): T | undefined {
  try {
    return step();
  } catch {
    return undefined;
  }
}

/** Whether it does not fail. */
export function succeeds(step: () => void): boolean {
  return quietly(() => [step()]) !== undefined;
}
