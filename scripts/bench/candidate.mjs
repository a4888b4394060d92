import { LeaderElection } from 'fairlock/cluster';

const [path, fairness] = process.argv.slice(2);
const election = new LeaderElection(path, { fairness });
process.send('standing');
await election.run(() => {
  process.send(String(process.hrtime.bigint()));
  return new Promise(() => {});
});
