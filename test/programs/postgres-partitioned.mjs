// Holds locks of PostgreSQL, and tells by the machine's monotonic clock when it is told that each is lost.
import { PostgresLocks } from '../../dist/postgres/index.js';

const [connectionString, name, count] = process.argv.slice(2);
const locks = new PostgresLocks({ connectionString, lossAfter: 5000 });
/** A handle that is not kept is collected, and tells nothing. */
const handles = [];
for (let i = 0; i < Number(count); i++) {
  const handle = await locks.lock(`${name} ${i}`).acquire();
  handles.push(handle);
  handle.signal.addEventListener('abort', () => console.log(`lost ${i} ${process.hrtime.bigint()}`));
}
console.log('holding');
setInterval(() => {}, 1000);
