// The addon's threads under AddressSanitizer (with leaks), UndefinedBehaviorSanitizer and ThreadSanitizer.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const addon = fileURLToPath(new URL('../native-fallback', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'fairlock-sanitize-'));
let failed = false;

const SOURCES = {
  stress: ['worker', 'seats', 'threads', 'lock_wait', 'cancel'],
  windows_ticket: [],
};
const WARNINGS = ['-Wall', '-Wextra', '-Werror'];

// The benchmarks' C uses the same headers, and no test compiles it.
const baseline = fileURLToPath(new URL('bench/baseline.c', import.meta.url));
const syntax = ['-fsyntax-only', '-std=gnu11', '-D_GNU_SOURCE', ...WARNINGS, baseline];
if (spawnSync('cc', syntax, { stdio: 'inherit' }).status !== 0) failed = true;

for (const sanitizer of ['address,undefined', 'thread']) {
  for (const [test, sources] of Object.entries(SOURCES)) {
    const program = join(folder, test);
    const files = [`test/${test}.c`, ...sources.map((name) => `src/${name}.c`)].map((file) => join(addon, file));
    const flags = ['-std=c11', '-g', '-O1', ...WARNINGS, '-D_GNU_SOURCE', `-fsanitize=${sanitizer}`, '-pthread'];
    console.log(`== ${test}: ${sanitizer}`);
    for (const [command, ...args] of [['cc', ...flags, ...files, '-o', program], [program]]) {
      const env = { ...process.env, TSAN_OPTIONS: 'halt_on_error=1' };
      const { status, signal } = spawnSync(command, args, { stdio: 'inherit', env });
      if (status === 0) continue;
      console.log(`failed: ${command} (${status ?? signal})`);
      failed = true;
      break;
    }
  }
}
rmSync(folder, { recursive: true });
process.exit(failed ? 1 : 0);
