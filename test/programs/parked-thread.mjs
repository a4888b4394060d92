// A wait on a thread, of which it tells how many there are.
import { InterProcessLock } from 'fairlock';
import { loadAddon } from '../../dist/internal/native/addon.js';
import { heldElsewhere } from './held-elsewhere.mjs';

const [file] = process.argv.slice(2);
const letGo = await heldElsewhere(file);
const waiting = new InterProcessLock(file).acquire();
console.log(loadAddon().api.threads(), 'parked');
letGo();
(await waiting).release();
console.log('granted');
