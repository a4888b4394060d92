/** Loads what may not be there, or not yet, when it is needed: optional packages, and the addon's binary. */
import module from 'node:module';
import { pathToFileURL } from 'node:url';
import { quietly } from './quietly.js';

/**
 * Where this code lies, as a URL. Asked of the engine, since a bundler replaces `import.meta.url`: webpack by the path on
 * the machine that made the bundle, where on another machine any user might have put a file.
 */
export const here: string = fileOfThisCode() ?? import.meta.url ?? pathToFileURL(__filename).href;

function fileOfThisCode(): string | undefined {
  const { prepareStackTrace, stackTraceLimit } = Error;
  // Where Error is frozen nothing is found, and there is nothing to put back.
  const file = quietly((): unknown => {
    Error.stackTraceLimit = 1;
    Error.prepareStackTrace = (_error, [site]) => site?.getFileName();
    return new Error().stack;
  });
  quietly(() => Object.assign(Error, { stackTraceLimit, prepareStackTrace }));
  if (typeof file !== 'string') return undefined;
  if (file.startsWith('file:')) return file;
  return /^([a-z]:)?[\\/]/i.test(file) ? pathToFileURL(file).href : undefined;
}

/** In CommonJS the build makes `require` of it, where a bundler should follow it. */
export const requireHere: NodeJS.Require = module.createRequire(here);

/** Parts of Node that take a millisecond or two to load, when they are first used. */
export const builtins = {
  get crypto(): typeof import('node:crypto') {
    return requireHere('node:crypto');
  },
  /** Numbers of errors, which differ between systems. */
  get errno(): typeof import('node:os').constants.errno {
    return requireHere('node:os').constants.errno;
  },
  get workerThreads(): typeof import('node:worker_threads') {
    return requireHere('node:worker_threads');
  },
};
