// Holds a lock of etcd and writes to a fencing store in PostgreSQL all the time, with check() before each write. Tells
// which of its writes the store has accepted, and of the loss.
import pg from 'pg';
import { EtcdLocks } from '../../dist/etcd/index.js';

const [endpoints, database, name] = process.argv.slice(2);
const store = new pg.Client(database);
await store.connect();
const handle = await new EtcdLocks({ endpoints, ttl: 5000 }).lock(name).acquire();
const { token } = handle;
process.send({ holds: token });
for (;;) {
  try {
    handle.check();
  } catch ({ code }) {
    process.send({ lost: code });
    break;
  }
  const { rowCount } = await store.query('UPDATE store SET token = $1 WHERE name = $2 AND token <= $1', [token, name]);
  process.send({ accepted: rowCount === 1 });
}
setInterval(() => {}, 1000);
