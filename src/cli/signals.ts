/**
 * What signals do to `fairlock run`, from its start to its end: before there is a command they end it, and the command is
 * never started; afterwards they are the command's. One owner, so that none is lost in between.
 */
import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import type { Addon } from '../inspect/index.js';
import type { GroupWitness } from './group-witness.js';
import { isInForeground } from './terminal.js';

const FATAL = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGALRM'] as const;
/** What is not fatal is left to the system until there is a command. */
const ALSO_PASSED_ON = ['SIGCONT', 'SIGTSTP', 'SIGWINCH'] as const;
/** A terminal sends these to all processes in the foreground. */
const FROM_TERMINAL: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT', 'SIGTSTP', 'SIGWINCH'];

export class Signals {
  /** Called before a signal ends the process. */
  beforeDeath: () => void = () => {};
  readonly ignored: readonly NodeJS.Signals[];
  #command: { child: ChildProcess; witness: GroupWitness } | undefined;

  constructor(ignored: readonly NodeJS.Signals[]) {
    this.ignored = ignored;
    for (const signal of FATAL) process.on(signal, this.#onSignal);
  }

  /** From now on they are the command's, which `start` starts. */
  passTo(witness: GroupWitness, start: () => ChildProcess): ChildProcess {
    this.#command = { child: start(), witness };
    for (const signal of ALSO_PASSED_ON) process.on(signal, this.#onSignal);
    return this.#command.child;
  }

  /** The command has ended: from now on they end this process, as any other. */
  end(): void {
    for (const signal of [...FATAL, ...ALSO_PASSED_ON]) process.off(signal, this.#onSignal);
    this.#command?.witness.end();
  }

  /**
   * From now on they have their default actions, or are ignored, as this process is about to become the command. What came
   * before, which Node has only written down, ends the process here.
   */
  async giveUp(addon: Addon): Promise<void> {
    addon.defaultSignals(this.ignored.map((signal) => constants.signals[signal]));
    // Two, so that there is a whole turn of the event loop between them, in which Node tells of signals.
    for (let turn = 0; turn < 2; turn++) await new Promise(setImmediate);
  }

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    if (this.ignored.includes(signal)) return;
    if (this.#command === undefined) return this.#die(signal);
    const { child, witness } = this.#command;
    const hasIt = witness.wasSentToGroup(signal) ?? (FROM_TERMINAL.includes(signal) && isInForeground());
    if (!hasIt) child.kill(signal);
    if (signal === 'SIGTSTP') this.#stop();
  };

  /** As without a listener; here it goes on after a CONT. */
  #stop(): void {
    process.off('SIGTSTP', this.#onSignal);
    process.kill(process.pid, 'SIGTSTP');
    process.on('SIGTSTP', this.#onSignal);
  }

  /**
   * As fatal as without a listener. With one also for process 1, which has no default actions, and SIGUSR1, which would
   * start Node's debugger.
   */
  #die(signal: NodeJS.Signals): void {
    this.beforeDeath();
    process.off(signal, this.#onSignal);
    process.kill(process.pid, signal);
    process.exit(128 + constants.signals[signal]);
  }
}
