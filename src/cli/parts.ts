/** What `fairlock run` does not always need: the build puts it into a file of its own. */
export { runCommandLine } from './commands/index.js';
export { runOnEngine } from './run-on-engine.js';
export { runOnFile } from './run-on-file.js';
