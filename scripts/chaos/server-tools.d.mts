/** Types for the tests. */
export function freePort(): Promise<number>;
export function accepts(port: number): Promise<boolean>;
export function postgresBinaries(): string | undefined;
export function serverUser(): { uid?: number; gid?: number };
export function giveToServer(...paths: string[]): void;
export function configurePgBouncer(
  folder: string,
  options: { port: number; target: number; mode: 'transaction' | 'session'; connections: number; others?: string[] },
): string;
