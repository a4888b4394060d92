/** What can be tested here: probed, never guessed from the platform's name. */
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { layers } from '../../src/index.js';
import { loadAddon } from '../../src/native/addon.js';

const { 'fs-ext': fsExt, 'native-fallback': addon } = layers();

/** Some layer can do flock(2) in this thread. */
export const hasFlock = fsExt.loaded || addon.loaded;
/** Waits park in the kernel. */
export const hasParking = addon.loaded;
export const hasFcntl = loadAddon().api?.hasOfd === true;
export const isRoot = process.getuid?.() === 0;
/** System calls can be looked at, and processes killed at a given one. */
export const hasStrace = spawnSync('strace', ['-o', '/dev/null', 'true']).status === 0;
/** File systems can be mounted; tried where no other process sees it. */
export const canMount =
  isRoot && spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', tmpdir()]).status === 0;
/** Processes can be started in a PID namespace of their own. */
export const hasNamespaces = isRoot && spawnSync('unshare', ['--pid', '--fork', '--mount-proc', 'true']).status === 0;
/** Network namespaces can be made. */
export const hasNetworks =
  isRoot &&
  spawnSync('ip', ['netns', 'add', `fairlock-probe-${process.pid}`]).status === 0 &&
  spawnSync('ip', ['netns', 'del', `fairlock-probe-${process.pid}`]).status === 0;
