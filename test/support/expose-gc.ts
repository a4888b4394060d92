/** Gives a thread its gc(), where the runner starts threads, which take no --expose-gc (mutation testing). */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
globalThis.gc ??= runInNewContext('gc');
