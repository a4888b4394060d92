// A Worker that leads until it is terminated.
import { parentPort, threadId, workerData } from 'node:worker_threads';
import { LeaderElection } from 'fairlock/cluster';

await new LeaderElection(workerData).run(({ token }) => {
  parentPort.postMessage({ token, threadId });
  return new Promise(() => setInterval(() => {}, 1000));
});
