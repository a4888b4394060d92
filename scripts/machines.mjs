// The README's two lines on machines that are not this one: clones, installs, runs the demo and the suite in each of them,
// and prints a table. `--only WORDS` those whose name has one of them, `--short` a part of the suite, `--list` the names.
// Rows that need root or a program that is not here say so. The log of each is kept in a folder that is named at the end.
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({
  options: { only: { type: 'string' }, short: { type: 'boolean' }, list: { type: 'boolean' } },
});
const folder = mkdtempSync(join(tmpdir(), 'fairlock-machines-'));
chmodSync(folder, 0o755); // For the rows, and the tests, of other users.
const isRoot = process.getuid?.() === 0;
const has = (program) => spawnSync('sh', ['-c', 'command -v "$0"', program]).status === 0;
const NOBODY = 65_534;
/** Those that a system without development packages has not, and those that only tests ask for. */
const COMPILERS = ['cc', 'gcc', 'g++', 'c++', 'clang', 'make', 'python', 'python3'];
const TOOLS = [
  'flock',
  'python',
  'python3',
  'git',
  'strace',
  'unshare',
  'openssl',
  'pgrep',
  'etcdctl',
  'zsh',
  'fish',
  'mandoc',
];

/** A PATH with all programs of this one but some. */
function pathWithout(programs) {
  const bin = mkdtempSync(join(folder, 'bin-'));
  const isLeftOut = (name) =>
    programs.some((one) => name === one || name.startsWith(`${one}-`) || name.startsWith(`${one}.`));
  for (const from of process.env.PATH.split(':').filter(existsSync))
    for (const name of readdirSync(from))
      if (!isLeftOut(name) && !existsSync(join(bin, name))) symlinkSync(join(from, name), join(bin, name));
  return bin;
}

/** A program of a package, before all others. */
function withPackage(name, program) {
  const where = mkdtempSync(join(folder, 'package-'));
  spawnSync('npm', ['install', '--no-save', '--ignore-scripts', '--prefix', where, name], { stdio: 'ignore' });
  return `${join(where, 'node_modules', program)}:${process.env.PATH}`;
}

const platform = `${process.platform}-${process.arch}`;
const node = (version) => () => ({ PATH: withPackage(`node-${platform}@${version}`, `node-${platform}/bin`) });
const npm = (version) => () => ({ PATH: withPackage(`npm@${version}`, '.bin') });

/** Debian's smallest system with Node and npm: no compiler, no Python, no ps, no locales. */
function debian(home) {
  const inside = join(home, 'debian');
  spawnSync('debootstrap', ['--variant=minbase', 'stable', inside], { stdio: 'ignore' });
  const npm = join(dirname(realpathSync(spawnSync('which', ['npm'], { encoding: 'utf8' }).stdout.trim())), '..');
  cpSync(process.execPath, join(inside, 'usr/bin/node'), { dereference: true });
  cpSync(npm, join(inside, 'usr/lib/npm'), { recursive: true });
  for (const name of ['npm', 'npx']) symlinkSync(`../lib/npm/bin/${name}-cli.js`, join(inside, 'usr/bin', name));
  // How this machine reaches the registry.
  const copy = (file, place = file) => existsSync(file) && cpSync(file, join(inside, place), { dereference: true });
  for (const file of [process.env.NODE_EXTRA_CA_CERTS ?? '', '/etc/resolv.conf', '/etc/hosts']) copy(file);
  copy(join(homedir(), '.npmrc'), 'srv/.npmrc');
  return inside;
}
/** The mounts go with the process. */
const IN_CHROOT = 'mount --bind /proc "$0/proc" && mount --bind /dev "$0/dev" && exec chroot "$0" "$@"';

/** `env`: variables; `wrap`: words before the command; `system`: makes a folder that is the root of another system; `where`: the name of the folder; `needs`: what must be here. */
const ROWS = [
  { name: 'this one' },
  { name: 'a folder with a space and an ü', where: 'a b ü' },
  { name: 'no compiler, no Python', env: () => ({ PATH: pathWithout(COMPILERS) }) },
  { name: 'few programs', env: () => ({ PATH: pathWithout(TOOLS) }) },
  {
    name: 'another user',
    needs: () => (isRoot && has('setpriv') ? undefined : 'root and setpriv(1)'),
    wrap: ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'],
    env: (home) => ({ HOME: home, npm_config_cache: join(home, '.npm') }),
    owner: NOBODY,
  },
  {
    name: 'a TMPDIR of 139 characters',
    env: (home) => {
      const long = join(home, 't').padEnd(139, 't');
      mkdirSync(long);
      return { TMPDIR: long };
    },
  },
  { name: 'a terminal of 160 columns', env: () => ({ COLUMNS: '160' }) },
  { name: 'LANG=C, no HOME', wrap: ['env', '-u', 'HOME', 'LANG=C', 'LC_ALL=C'] },
  { name: '256 descriptors', wrap: ['sh', '-c', 'ulimit -Sn 256; exec "$0" "$@"'] },
  {
    name: 'one processor, beside a spinner',
    needs: () => (has('taskset') ? undefined : 'taskset(1)'),
    wrap: ['taskset', '-c', '0', 'sh', '-c', 'while :; do :; done & trap "kill $!" EXIT; "$0" "$@"'],
  },
  {
    name: 'a PID namespace',
    needs: () => (isRoot && has('unshare') ? undefined : 'root and unshare(1)'),
    wrap: ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'],
  },
  {
    name: "Debian's smallest system",
    needs: () => (isRoot && has('debootstrap') && has('unshare') ? undefined : 'root, debootstrap and unshare(1)'),
    system: debian,
  },
  { name: 'no native layers', env: () => ({ FAIRLOCK_DISABLE: 'fs-ext,native-fallback' }) },
  { name: 'Node 22', env: node(22) },
  { name: 'Node 24', env: node(24) },
  { name: 'Node 26', env: node(26) },
  { name: 'Node 20.0.0, the package alone', env: node('20.0.0'), steps: ['package'] },
  { name: 'npm 9', env: npm(9) },
  {
    name: 'npm 12',
    env: () => ({
      PATH: `${withPackage(`node-${platform}@26`, `node-${platform}/bin`)}`.replace(
        ':',
        `:${npm(12)().PATH.split(':')[0]}:`,
      ),
    }),
  },
];

const SHORT = ['test/core', 'test/locks', 'test/files', 'test/cli/run.test.ts', 'test/cli/surroundings.test.ts'];
const STEPS = {
  install: 'npm ci',
  demo: 'npm run -s demo',
  test: values.short ? `npm run -s build && npx vitest run ${SHORT.join(' ')}` : 'npm test',
  // The package that this Node has built, by the Node that is first: the suite's runner wants a newer one.
  package: `node --version && node "${join(root, 'test/platforms/core.mjs')}" native`,
};

function run(words, { cwd, env, log }) {
  return new Promise((resolve) => {
    const [program, ...args] = words;
    const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (text += data));
    child.on('error', (error) => resolve({ code: -1, text: String(error) }));
    child.on('close', (code) => {
      writeFileSync(log, text);
      resolve({ code, text });
    });
  });
}

async function tryOut(
  { name, where = 'clone', env = () => ({}), wrap = [], system, owner, needs, steps = ['install', 'demo', 'test'] },
  i,
) {
  const missing = needs?.();
  if (missing !== undefined) return [name, `needs ${missing}`, '', ''];
  const home = mkdtempSync(join(folder, `${i}-`));
  chmodSync(home, 0o755);
  const inside = system?.(home);
  const clone = join(inside ?? home, inside === undefined ? where : 'srv/clone');
  const words = ['unshare', '--mount', 'sh', '-c', IN_CHROOT, inside, 'env', '-C', '/srv/clone', 'HOME=/srv'];
  const before = inside === undefined ? wrap : [...words, 'PATH=/usr/sbin:/usr/bin:/sbin:/bin'];
  spawnSync('git', ['clone', '-q', root, clone]);
  const shared = join(root, '..', 'shared');
  if (existsSync(shared)) symlinkSync(shared, join(home, 'shared'));
  const around = { ...process.env, CI: 'true', NO_COLOR: '1', ...env(home) };
  if (owner !== undefined) {
    spawnSync('chown', ['-R', `${owner}:${owner}`, home]);
  }
  const outcomes = {};
  for (const step of steps) {
    const log = join(folder, `${name.replaceAll(/\W+/g, '-')}.${step}.log`);
    const { code, text } = await run([...before, 'sh', '-c', STEPS[step]], { cwd: clone, env: around, log });
    const tests = /^ +Tests +(.*)$/m.exec(text)?.[1];
    outcomes[step] = code === 0 ? (tests ?? 'ok') : `FAILED ${tests ?? `(${code})`}`;
    if (code !== 0) isWell = false;
  }
  rmSync(home, { recursive: true, force: true });
  return [name, outcomes.install ?? '', outcomes.demo ?? '', outcomes.test ?? outcomes.package ?? ''];
}

let isWell = true;
const chosen = ROWS.filter(
  ({ name }) => values.only === undefined || values.only.split(',').some((word) => name.includes(word)),
);
if (values.list) {
  for (const { name } of chosen) console.log(name);
} else {
  const table = new Table({ head: ['machine', 'npm ci', 'demo', 'tests'], style: { head: [], border: [] } });
  for (const [i, row] of chosen.entries()) {
    const line = await tryOut(row, i);
    console.log(line.join(' | '));
    table.push(line);
  }
  console.log(`${table}\nlogs: ${folder}`);
  process.exitCode = isWell ? 0 : 1;
}
