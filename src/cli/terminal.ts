/** The terminal that this process was started at, which is not its own. */
import { closeSync, fstatSync } from 'node:fs';
import { statOf } from '../inspect/index.js';
import { quietly } from '../quietly.js';

/** Whether this process is of the group that a Ctrl-C at its terminal would go to. */
export function isInForeground(): boolean {
  const stat = statOf('self');
  if (stat === undefined) return isTerminal(0);
  const [, , pgrp, , , tpgid] = stat;
  return pgrp === tpgid;
}

/** A terminal, or a device that is harmless to be taken for one. Node's own test loads 1 ms of its network code. */
export function isTerminal(fd: number): boolean {
  return fstatSync(fd).isCharacterDevice();
}

/**
 * At its end Node sets a terminal back to what it was at the start, and so undoes what the command, or another program in
 * the foreground, has set since. It leaves alone what is closed.
 */
export function leaveTerminalAsItIs(): void {
  if (process.platform === 'win32') return;
  let isFailing = false;
  // Node says what was thrown after this event.
  process.once('uncaughtExceptionMonitor', () => {
    isFailing = true;
  });
  process.once('exit', () => {
    if (isFailing) return;
    for (const fd of [0, 1, 2]) quietly(() => isTerminal(fd) && closeSync(fd));
  });
}
