// npm run mutants: faults put by hand into the mechanisms and the fairness code, where Stryker cannot follow since the
// tests fork programs that use what is built. Each is built in a copy of the project, and some test must fail.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Table from 'cli-table3';

const LOCK = ['test/locks/inter-process-lock.test.ts', 'test/locks/file-lock.test.ts', 'test/backends/'];
const FAIR = ['test/backends/order/'];
const ETCD = ['test/etcd/'];
const POSTGRES = ['test/postgres/'];

/** What is wrong, in which file, what is replaced by what, and which tests are to notice. */
const MUTANTS = [
  [
    'a replaced file is taken for the lock',
    'src/backends/kernel/kernel-lock.ts',
    'if (status === GRANTED) return file;',
    'if (status !== CONTENDED) return file;',
    LOCK,
  ],
  [
    'a grant on a replaced file is kept after a wait',
    'src/backends/kernel/pending-request.ts',
    ": status === REPLACED ? 'replaced' : 'locked'",
    ": 'locked'",
    LOCK,
  ],
  [
    'a cancelled wait is not cancelled',
    'src/backends/kernel/pending-request.ts',
    'this.endWaits(() => sidecar?.close());',
    'void sidecar;',
    LOCK,
  ],
  [
    'a look at the queue makes a sidecar where the last holder has just removed it',
    'src/backends/order/sidecar.ts',
    "const file = openToLook(this.#file, { access: 'write' });",
    'const file = this.open();',
    LOCK,
  ],
  [
    'a lock is released without unlocking',
    'src/backends/kernel/kernel-grant.ts',
    'file.lock.unlock();\n      // A descriptor',
    '// A descriptor',
    LOCK,
  ],
  [
    'a file that was shown to a child is used again',
    'src/backends/kernel/kernel-grant.ts',
    'if (this.#isShown) file.close();\n      else lock',
    'lock',
    LOCK,
  ],
  [
    'the file is removed without the lock of its removal',
    'src/backends/kernel/kernel-grant.ts',
    "mechanism.name === 'fcntl' || takeRemovalLock(mechanism.addon, files.file, file)",
    'true',
    [...LOCK, 'test/web-locks/', 'test/files/'],
  ],
  [
    'a reader removes the file under other readers',
    'src/backends/kernel/kernel-grant.ts',
    "!file.writable || this.lock.tryInOrder(file, 'exclusive') !== GRANTED",
    'false',
    [...LOCK, 'test/locks/inter-process-reader-writer-lock.test.ts', 'test/web-locks/'],
  ],
  [
    'the mark is not set',
    'src/files/lock-file.ts',
    'else fchmodSync(fd, Number(stat.mode & 0o7777n) | MARK);',
    '',
    LOCK,
  ],
  [
    'the lock folder is not looked for',
    'src/files/lock-file.ts',
    'if (isLockFolder(folder))',
    'if (false as boolean)',
    LOCK,
  ],
  [
    'the mark is not looked for',
    'src/backends/lockfile/lockfile-backend.ts',
    'if (grant !== null) this.#refuseMarked(canonical);',
    '',
    LOCK,
  ],
  [
    'a stale folder is removed without a second look',
    'src/backends/lockfile/stale-takeover.ts',
    'if (instance(path) !== stale) throw taken(path);',
    '',
    LOCK,
  ],
  [
    "a release removes its successor's folder",
    'src/backends/lockfile/stale-takeover.ts',
    'else if (isOurs(path)) fs.rmdirSync(path);',
    'else fs.rmdirSync(path);',
    LOCK,
  ],
  [
    'a try passes the queue of other processes',
    'src/backends/kernel/kernel-lock.ts',
    'return this.#ifQueueEmpty(queue.sidecar, file, mode);',
    'return file.lock.tryLock(mode);',
    FAIR,
  ],
  [
    'tickets are not taken in order',
    'src/backends/order/ticket-queue.ts',
    'const [next] = this.#waiting;',
    'const next = [...this.#waiting].at(-1);',
    FAIR,
  ],
  ['a cancelled ticket is kept', 'src/backends/order/ticket.ts', '    sidecar?.nativeFile.dropTicket();\n', '', FAIR],
  [
    'there is no limit to the tickets ahead',
    'src/backends/order/ticket-queue.ts',
    'this.#ahead < MOST_AHEAD',
    'true',
    FAIR,
  ],
  [
    'no second look for earlier tickets',
    'native-fallback/src/ticket.h',
    'return error != 0 ? error : ticket_is_first(fd, place, wait_for);',
    'place->first = true;\n  return error;',
    [...FAIR, 'test/chaos/chaos.test.ts'],
  ],
  [
    'a ticket is taken though later ones are there',
    'native-fallback/src/ticket.h',
    'error = ticket_bytes(fd, TICKET_BASE + *ticket, TICKET_LAST, F_WRLCK, false);\n  if (error != EAGAIN) return error;',
    'error = ticket_bytes(fd, TICKET_BASE + *ticket, TICKET_BASE + *ticket, F_WRLCK, false);\n  if (error != EAGAIN) return error;',
    [...FAIR, 'test/chaos/chaos.test.ts'],
  ],
  [
    'a late grant is kept',
    'src/backends/kernel/pending-request.ts',
    '        file?.unlockAndClose();\n        if (isForTurn)',
    '        if (isForTurn)',
    LOCK,
  ],
  [
    'a permit is not unlocked',
    'src/backends/kernel/permits.ts',
    'this.file.unlockAndClose();',
    '',
    ['test/locks/inter-process-semaphore.test.ts'],
  ],
  [
    'the number of permits is not compared',
    'src/backends/kernel/permits.ts',
    'if (other === undefined) return true;',
    'if (other === undefined || other > 0) return true;',
    ['test/locks/inter-process-semaphore.test.ts'],
  ],
  [
    'waiters of a semaphore overtake its queue',
    'src/backends/kernel/semaphore-backend.ts',
    'if (this.order.queue?.sidecar.look((open) => open.isFirst()) === CONTENDED) return null;',
    '',
    ['test/locks/inter-process-semaphore.test.ts', 'test/chaos/chaos.test.ts'],
  ],
  [
    'engine: a waiter is granted though its key is gone',
    'src/etcd/turns.ts',
    'if (own?.[0] === undefined || BigInt(own[0].create_revision) !== revision) return undefined;',
    'void own; void revision;',
    ETCD,
  ],
  ['engine: a waiter does not watch its own key', 'src/etcd/turns.ts', '[place.key, ...others]', '[...others]', ETCD],
  [
    'engine: a holder does not watch its key',
    'src/etcd/etcd-grant.ts',
    'this.#ends.push(places.watch(key, () => void this.ask().catch(() => {}))); // The lease decides then.',
    'void places; void key;',
    ETCD,
  ],
  [
    'engine: a loss is told after twice the time to live',
    'src/etcd/lease.ts',
    'if (this.#ended === undefined && elapsed(this.#renewed) >= (this.ttl * 2) / 3) {',
    'if (this.#ended === undefined && elapsed(this.#renewed) >= this.ttl * 2) {',
    ETCD,
  ],
  [
    'engine: a blocked event loop is not noticed',
    'src/engine/engine-lock.ts',
    'if (!this.released) quietly(() => this.#hold.engineGrant.check());',
    '',
    ETCD,
  ],
  [
    'engine: an outage ends the lease at once',
    'src/etcd/lease.ts',
    'if (this.#ended === undefined) this.#renewLater(RETRY_MS',
    "this.end('outage'); if (this.#ended === undefined) this.#renewLater(RETRY_MS",
    ETCD,
  ],
  [
    'engine: a lease that has ended is used for ever',
    'src/etcd/places.ts',
    'if (known !== undefined && known.ended === undefined) return known;',
    'if (known !== undefined) return known;',
    ETCD,
  ],
  [
    'engine: a timeout does not name the host',
    'src/errors.ts',
    "const where = host === undefined ? ''",
    "const where = host !== null ? ''",
    [...ETCD, ...POSTGRES],
  ],
  [
    'engine: transaction pooling is not refused',
    'src/postgres/probe.ts',
    'if (inside === rows[0].pid || again !== rows[0].pid) throw',
    'void inside; void again; if (POOLED.length === 0) throw',
    POSTGRES,
  ],
  [
    'engine: a server that locks nothing is not refused',
    'src/postgres/probe.ts',
    'if (first !== true || other !== false) throw',
    'void other; if (first !== true) throw',
    POSTGRES,
  ],
  [
    'engine: the end of a connection is not told',
    'src/postgres/session.ts',
    'for (const hold of [...this.holds]) hold.lost(why);',
    'void why;',
    POSTGRES,
  ],
  [
    'engine: an aborted wait keeps what it was granted',
    'src/postgres/locking.ts',
    'await this.#unlockForSure(session, key, mode);\n      throw error;',
    'throw error;',
    POSTGRES,
  ],
  [
    'engine: each request has a connection of its own',
    'src/postgres/control.ts',
    'if (known !== undefined && !known.isEnded) return known;',
    '',
    POSTGRES,
  ],
];

const root = fileURLToPath(new URL('..', import.meta.url));
const only = process.argv.slice(2);
const table = new Table({ head: ['mutant', 'caught by'], style: { head: [], border: [] } });
let survivors = 0;
for (const [what, file, from] of MUTANTS) {
  if (!readFileSync(join(root, file), 'utf8').includes(from)) throw new Error(`${what}: ${file} has no ${from}`);
}
for (const [what, file, from, to, tests] of MUTANTS) {
  if (only.length > 0 && !only.some((word) => what.includes(word))) continue;
  const copy = mkdtempSync(join(tmpdir(), 'fairlock-mutant-'));
  chmodSync(copy, 0o755); // Some tests become another user.
  for (const name of [
    'src',
    'test',
    'scripts',
    'native-fallback',
    'examples',
    'docs',
    'package.json',
    'tsconfig.json',
    'tsconfig.build.json',
    'vitest.config.ts',
  ]) {
    cpSync(join(root, name), join(copy, name), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  const text = readFileSync(join(copy, file), 'utf8');
  writeFileSync(join(copy, file), text.replace(from, to));
  const shell = (command, args, timeout) =>
    spawnSync(command, args, { cwd: copy, encoding: 'utf8', timeout, env: { ...process.env, NO_COLOR: '1' } });
  // Step by step: types and unused names may be wrong in a mutant, and it is built all the same.
  const steps = [
    ['scripts/build-native.mjs'],
    ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'],
    ['scripts/build-library.mjs'],
    ['scripts/build-cli.mjs'],
  ];
  for (const step of steps) shell(process.execPath, step, 120_000);
  const report = join(copy, 'report.json');
  const vitest = [
    'node_modules/vitest/vitest.mjs',
    'run',
    '--bail=1',
    '--reporter=json',
    `--outputFile.json=${report}`,
    ...tests,
  ];
  const { error } = shell(process.execPath, vitest, 240_000);
  const failed = error === undefined ? failuresIn(report) : ['(it hangs)'];
  if (failed.length === 0) survivors++;
  table.push([what, failed[0] ?? 'NO TEST']);
  console.log(`${failed.length === 0 ? 'SURVIVED' : 'caught'}: ${what}${failed.length === 0 ? '' : ` — ${failed[0]}`}`);
  rmSync(copy, { recursive: true, force: true });
}
console.log(`${table}\n${survivors} survived`);
process.exit(survivors === 0 ? 0 : 1);

function failuresIn(report) {
  try {
    const { testResults, success } = JSON.parse(readFileSync(report, 'utf8'));
    const failed = testResults.flatMap(({ assertionResults }) =>
      assertionResults.filter(({ status }) => status === 'failed').map(({ fullName }) => fullName),
    );
    return failed.length === 0 && !success ? ['(a file does not run)'] : failed;
  } catch {
    return ['(nothing runs)'];
  }
}
