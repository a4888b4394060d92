/** What is ended after each test file: see clean-up.ts. */
const ends: (() => unknown)[] = [];

export function atFileEnd(end: () => unknown): void {
  ends.push(end);
}

export async function endAll(): Promise<void> {
  await Promise.all(ends.splice(0).map((end) => end()));
}
