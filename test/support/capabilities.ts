/** What can be tested here: probed, never guessed from the platform's name. */
import { layers } from '../../src/index.js';

const { 'fs-ext': fsExt, 'native-fallback': addon } = layers();

/** Some layer can do flock(2) in this thread. */
export const hasFlock = fsExt?.loaded === true || addon?.loaded === true;
export const isRoot = process.getuid?.() === 0;
