/** Types for the tests of the checker. */
export function now(): number;
export function recorder(folder: string, client: string): (event: object) => void;
export function readHistory(folder: string): object[];
export function check(
  events: object[],
  resources: Record<string, object>,
): { violations: string[]; figures: Record<string, object> };
