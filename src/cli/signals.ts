/**
 * What signals do to `fairlock run`, from its start to its end: before there is a command they end it, and the command is
 * never started; afterwards they are the command's. One owner, so that none is lost in between.
 */
import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { type Addon, loadAddon } from '../inspect/index.js';
import type { GroupWitness } from './group-witness.js';
import { isInForeground } from './terminal.js';

const FATAL = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGALRM'] as const;
/** What is not fatal is left to the system until there is a command. */
const ALSO_PASSED_ON = ['SIGCONT', 'SIGTSTP', 'SIGWINCH'] as const;
const IGNORED_BY_NODE = ['SIGPIPE', 'SIGXFSZ'] as const;
/** A terminal sends these to all processes in the foreground. */
const FROM_TERMINAL: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT', 'SIGTSTP', 'SIGWINCH'];

export class Signals {
  readonly ignored: readonly NodeJS.Signals[];
  #command: { child: ChildProcess; witness: GroupWitness } | undefined;
  #beforeDeath: (() => void) | undefined;
  #isListening = false;

  /**
   * Default actions are the kernel's: no signal is lost with them, while one that Node has noted may still be on its way
   * to our code when this process becomes the command. Node has no way back to them (TERM sets the terminal back, USR1
   * starts a debugger), and process 1 has none: then listeners do it.
   */
  constructor(ignored: readonly NodeJS.Signals[]) {
    this.ignored = ignored;
    const addon = process.pid === 1 ? undefined : loadAddon().api;
    if (addon === undefined) this.#listen();
    else addon.setSignals(numbersOf(FATAL), numbersOf(ignored));
  }

  /** What is to be done before a signal ends the process; undefined: nothing any more. */
  beforeDeath(wipe: (() => void) | undefined): void {
    this.#beforeDeath = wipe;
    if (wipe !== undefined) this.#listen();
  }

  /** From now on they are the command's, which `start` starts. */
  passTo(witness: GroupWitness, start: () => ChildProcess): ChildProcess {
    this.#listen();
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
   * From now on they are as the command is to find them, which this process is about to become. What
   * came before, which Node has only noted, ends the process here.
   */
  async giveUp(addon: Addon): Promise<void> {
    addon.setSignals(numbersOf([...FATAL, ...IGNORED_BY_NODE]), numbersOf(this.ignored));
    if (!this.#isListening) return;
    // Two, so that there is a whole turn of the event loop between them, in which Node tells of signals.
    for (let turn = 0; turn < 2; turn++) await new Promise(setImmediate);
  }

  #listen(): void {
    if (this.#isListening) return;
    this.#isListening = true;
    for (const signal of FATAL) process.on(signal, this.#onSignal);
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

  /** As fatal as without a listener, also for process 1. */
  #die(signal: NodeJS.Signals): void {
    this.#beforeDeath?.();
    process.off(signal, this.#onSignal);
    process.kill(process.pid, signal);
    process.exit(128 + constants.signals[signal]);
  }
}

function numbersOf(signals: readonly NodeJS.Signals[]): number[] {
  return signals.map((signal) => constants.signals[signal]);
}
