/** Loads what may not be there, or not yet, when it is needed: optional packages, and the addon's binary. */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

/** Where this code lies. In a bundle that was made into CommonJS there is no `import.meta.url`. */
export const here: string = import.meta.url ?? pathToFileURL(__filename).href;

export const requireHere: NodeJS.Require = createRequire(here);

/** Parts of Node that take a millisecond or two to load, when they are first used. */
export const builtins = {
  get crypto(): typeof import('node:crypto') {
    return requireHere('node:crypto');
  },
  get workerThreads(): typeof import('node:worker_threads') {
    return requireHere('node:worker_threads');
  },
};
