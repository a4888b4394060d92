// For programs that want a file which another program, flock(1), holds.
import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** Returns, once it is held, what lets it go. */
export async function heldElsewhere(file, env = process.env) {
  const stdio = ['pipe', 'pipe', 'inherit'];
  const holder = spawn('flock', [file, 'sh', '-c', 'echo held; read line'], { stdio, env });
  await once(holder.stdout, 'data');
  return () => holder.stdin.end();
}
