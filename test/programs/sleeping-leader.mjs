// The loop of the docs over the terms of an election, which is closed while the job sleeps.
import { setTimeout as sleep } from 'node:timers/promises';
import { LeaderElection } from 'fairlock/cluster';

const election = new LeaderElection(process.argv[2]);
const doPeriodicJob = ({ signal }) => {
  setImmediate(() => election.close());
  return sleep(60_000, undefined, { signal });
};
for await (const { token, signal } of election) {
  try {
    while (!signal.aborted) await doPeriodicJob({ token, signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
console.log('ended');
