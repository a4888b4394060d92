// Workers of node:cluster that lead, one after the other: each is killed as soon as it has told its token.
import cluster from 'node:cluster';
import { LeaderElection } from 'fairlock/cluster';

if (cluster.isPrimary) {
  cluster.on('message', (worker, { token }) => {
    console.log(token);
    worker.process.kill('SIGKILL');
  });
  for (let i = 0; i < 3; i++) cluster.fork();
} else {
  await new LeaderElection(process.argv[2]).run(({ token }) => {
    process.send({ token });
    return new Promise(() => {});
  });
}
