// Byte-range locks that the system has, and refuses from some moment on.
import { InterProcessLock, InterProcessSemaphore, layers } from 'fairlock';

const [file] = process.argv.slice(2);
layers(); // The addon asks when it is loaded.
process.env.LIE = 'ofd';
const tell = ({ code, message }) => console.log(code, message.includes('sandbox'));
try {
  new InterProcessLock(file, { mechanism: 'fcntl' }).tryAcquire();
} catch (error) {
  tell(error);
}
await new InterProcessSemaphore(file, { permits: 2 }).acquire().catch(tell);
console.log((await new InterProcessLock(file, { fairness: 'auto' }).acquire()).released);
