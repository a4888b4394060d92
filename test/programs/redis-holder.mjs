// Holds a lock of a Redis until it is killed: URL NAME TTL.
import { RedisLocks } from 'fairlock/redis';

const [url, name, ttl] = process.argv.slice(2);
const handle = await new RedisLocks({ url, ttl: Number(ttl) }).lock(name).acquire();
console.log(`held ${handle.token}`);
setInterval(() => {}, 1000);
