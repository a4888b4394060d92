/** What `fairlock run` was asked to do. */
import type { MechanismName } from '../index.js';
import { say } from './output.js';
import type { Signals } from './signals.js';
import type { Surroundings } from './surroundings.js';

export interface RunOptions {
  shared: boolean;
  nonblock: boolean;
  /** Seconds. */
  wait: number | undefined;
  conflictExitCode: number;
  close: boolean;
  fork: boolean;
  verbose: boolean;
  fair: boolean;
  mechanism: 'auto' | MechanismName;
  permits: number | undefined;
}

export type EngineKind = 'etcd' | 'postgres' | 'redis';

export interface EngineChoice {
  kind: EngineKind;
  url: string;
}

/** As the command line has it. */
export interface RunCall {
  file: string;
  words: string[];
  options: RunOptions;
  engine: EngineChoice | undefined;
}

/** A command's words as Node has them, and as the kernel has them. */
export interface CommandWords {
  file: string;
  /** @throws {CliError} Node has changed one of them */
  text(): { file: string; args: string[] };
  bytes(): Buffer[];
}

/** A run whose words are checked, from its first moment to the command. */
export interface Run {
  file: string;
  command: CommandWords;
  options: RunOptions;
  around: Surroundings;
  signals: Signals;
}

/** With -v, what flock(1) says. @param ms how long it took */
export function sayTaken({ command, options }: Run, ms: number): void {
  if (!options.verbose) return;
  say(`getting lock took ${(ms / 1000).toFixed(6)} seconds`);
  say(`executing ${command.file}`);
}
