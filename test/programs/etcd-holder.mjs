// Holds a lock of etcd until it is killed.
import { EtcdLocks } from '../../dist/etcd/index.js';

const [endpoints, name] = process.argv.slice(2);
await new EtcdLocks({ endpoints, ttl: 5000 }).lock(name).acquire();
process.send('holding');
