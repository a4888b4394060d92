import { join } from 'node:path';
import { expect, it } from 'vitest';
import { root } from '../support/paths.js';
import { run } from '../support/programs.js';
import { hasRedis } from '../support/redis-server.js';
import { isSoak } from '../support/scale.js';
import { hasEtcd, hasPgBouncer, hasPostgres } from '../support/servers.js';

it.runIf(isSoak && hasEtcd && hasPostgres && hasPgBouncer && hasRedis)(
  'a minute of chaos on the engines and their servers: no token goes back, no wait and no lock is left',
  async () => {
    const chaos = join(root, 'scripts/chaos/engines.mjs');
    const { code, stdout, stderr } = await run(process.execPath, [chaos, '--seconds', '60']);
    expect(code, stdout + stderr).toBe(0);
    expect(stdout).toMatch(/^etcd: [1-9]\d* grants/m);
    expect(stdout).toMatch(/^postgres: [1-9]\d* grants/m);
    expect(stdout).toMatch(/^redis: [1-9]\d* grants/m);
  },
);
