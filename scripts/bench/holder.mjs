// Holds the lock until it is killed.
import { InterProcessLock } from 'fairlock';

await new InterProcessLock(process.argv[2], JSON.parse(process.argv[3])).acquire();
process.send('held');
setInterval(() => {}, 1000);
