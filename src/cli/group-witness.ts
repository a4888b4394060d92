/**
 * Whether a signal that this process got was sent to its whole process group, so that the command, which is in the same
 * group, has it already: a Ctrl-C, a `timeout`, a `kill -- -PGID`. The kernel does not tell, but it shows which signals
 * are pending: so another process of the group has all of them blocked, and does nothing else.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { read, statOf } from '../inspect/index.js';

export class GroupWitness {
  #process = start();
  /** Seen pending, and not asked for yet. */
  #seen = new Set<NodeJS.Signals>();

  /** Undefined: it cannot be told here (no /proc, or an env(1) that cannot block signals). */
  wasSentToGroup(signal: NodeJS.Signals): boolean | undefined {
    // To make a process waits for a kill(2) of the group that is under way, as both take the kernel's lock of its list of
    // processes. So what reached this process by it has reached the old witness too by now.
    const old = this.#process;
    this.#process = start();
    const seen = signalsOf(old);
    end(old);
    if (seen === undefined) return undefined;
    for (const one of seen) this.#seen.add(one);
    // A CONT takes back the TSTP that is pending.
    return this.#seen.delete(signal) || (signal === 'SIGTSTP' && seen.includes('SIGCONT'));
  }

  end(): void {
    end(this.#process);
  }
}

/** Until its input ends, which the end of this process sees to. */
function start(): ChildProcess {
  const witness = spawn('env', ['--block-signal', 'cat'], { stdio: ['pipe', 'ignore', 'ignore'] });
  for (const one of [witness, witness.stdin]) one?.on('error', () => {});
  witness.unref();
  (witness.stdin as unknown as { unref(): void } | null)?.unref();
  return witness;
}

function end(witness: ChildProcess): void {
  witness.stdin?.destroy();
}

function signalsOf({ pid, signalCode, exitCode }: ChildProcess): NodeJS.Signals[] | undefined {
  if (signalCode !== null) return [signalCode];
  const status = pid === undefined || exitCode !== null ? '' : read(`/proc/${pid}/status`);
  const pending = /^ShdPnd:\s+([0-9a-f]+)/m.exec(status)?.[1];
  if (pending === undefined) return undefined;
  const isEnded = /^State:\s+Z/m.test(status);
  // One that came before they were blocked has ended it: the last field of stat, shown for a process of one's own.
  const endedBy = isEnded ? Number(statOf(pid as number)?.at(-1) ?? 0) & 0x7f : 0;
  if (isEnded && endedBy === 0) return undefined;
  const isPending = (number: number): boolean => ((BigInt(`0x${pending}`) >> BigInt(number - 1)) & 1n) === 1n;
  return (Object.entries(constants.signals) as [NodeJS.Signals, number][])
    .filter(([, number]) => number === endedBy || isPending(number))
    .map(([name]) => name);
}
