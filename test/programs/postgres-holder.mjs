// Holds a lock of PostgreSQL until it is killed.
import { PostgresLocks } from '../../dist/postgres/index.js';

const [connectionString, name] = process.argv.slice(2);
await new PostgresLocks({ connectionString, lossAfter: 5000 }).lock(name).acquire();
process.send('holding');
setInterval(() => {}, 1000);
