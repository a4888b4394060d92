// A wait on a thread, of which it tells how many there are.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { InterProcessLock } from 'fairlock';
import { loadAddon } from '../../dist/internal/native/addon.js';

const [file] = process.argv.slice(2);
const holder = spawn('flock', [file, 'sh', '-c', 'echo held; read line'], { stdio: ['pipe', 'pipe', 'inherit'] });
await once(holder.stdout, 'data');
const waiting = new InterProcessLock(file).acquire();
console.log(loadAddon().api.threads(), 'parked');
holder.stdin.end();
(await waiting).release();
console.log('granted');
