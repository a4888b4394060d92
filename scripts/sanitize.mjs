// The addon's threads under AddressSanitizer (with leaks), UndefinedBehaviorSanitizer and ThreadSanitizer.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const addon = fileURLToPath(new URL('../native-fallback', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'fairlock-sanitize-'));
let failed = false;

for (const sanitizer of ['address,undefined', 'thread']) {
  const program = join(folder, 'stress');
  const flags = [
    '-std=c11',
    '-g',
    '-O1',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-D_GNU_SOURCE',
    `-fsanitize=${sanitizer}`,
    '-pthread',
  ];
  const steps = [
    [
      'cc',
      [
        ...flags,
        join(addon, 'test', 'stress.c'),
        join(addon, 'src', 'worker.c'),
        join(addon, 'src', 'seats.c'),
        join(addon, 'src', 'lock_wait.c'),
        join(addon, 'src', 'cancel.c'),
        '-o',
        program,
      ],
    ],
    [program, []],
  ];
  console.log(`== ${sanitizer}`);
  for (const [command, args] of steps) {
    const { status, signal } = spawnSync(command, args, {
      stdio: 'inherit',
      env: { ...process.env, TSAN_OPTIONS: 'halt_on_error=1' },
    });
    if (status !== 0) {
      console.log(`failed: ${command} (${status ?? signal})`);
      failed = true;
      break;
    }
  }
}
rmSync(folder, { recursive: true });
process.exit(failed ? 1 : 0);
