/** What `npm pack` would put into the tarball. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export function packed() {
  const cwd = fileURLToPath(new URL('..', import.meta.url));
  const said = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  // A list of packages, and from npm 12 on an object of them.
  const [{ files, unpackedSize }] = Object.values(JSON.parse(said));
  return { files, unpackedSize };
}
