/** Types for the tests that drive broken locks. */
export interface SubjectHandle {
  readonly token?: number;
  readonly permit?: number;
  readonly signal?: AbortSignal;
  release(): void;
}

export interface Subject {
  name: string;
  shared?: boolean;
  acquire(mode: 'exclusive' | 'shared', options: { timeout?: number; signal?: AbortSignal }): Promise<SubjectHandle>;
  try?(mode: 'exclusive' | 'shared'): SubjectHandle | null;
}

export interface Client {
  client: string;
  record(event: object): void;
  random(): number;
  quick?: boolean;
}

export function randomOf(seed: number): () => number;
export function request(subject: Subject, client: Client): Promise<unknown>;
export function codeOf(error: unknown): string;
