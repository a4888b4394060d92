/** The terminal that this process was started at, which is not its own. */
import { closeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { statOf } from '../inspect/index.js';

/** Whether this process is of the group that a Ctrl-C at its terminal would go to. */
export function isInForeground(): boolean {
  const stat = statOf('self');
  if (stat === undefined) return isatty(0);
  const [, , pgrp, , , tpgid] = stat;
  return pgrp === tpgid;
}

/**
 * At its end Node sets a terminal back to what it was at the start, and so undoes what the command, or another program in
 * the foreground, has set since. It leaves alone what is closed.
 */
export function leaveTerminalAsItIs(): void {
  if (process.platform === 'win32') return;
  process.once('exit', () => {
    for (const fd of [0, 1, 2]) {
      try {
        if (isatty(fd)) closeSync(fd);
      } catch {
        // Closed.
      }
    }
  });
}
