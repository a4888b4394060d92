// A worker of a service. Whichever process starts and ends it (PM2, systemd, Kubernetes, a shell), one at a time leads.
import { setTimeout as sleep } from 'node:timers/promises';
import { LeaderElection } from 'fairlock/cluster';

const election = new LeaderElection(process.env.LEADER_LOCK ?? '/tmp/service-leader.lock');

/** One piece of the work that only the leader does; it is never cut in the middle. */
async function piece(token) {
  console.log(`${process.pid} begins with token ${token}`);
  await sleep(Number(process.env.PIECE_MS ?? 200));
  console.log(`${process.pid} is done with token ${token}`);
}

async function lead() {
  for await (const { token, signal } of election) {
    while (!signal.aborted) await piece(token);
  }
}

// PM2's reload and a Ctrl-C send SIGINT, `docker stop` and Kubernetes SIGTERM.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await election.close(); // The piece that is under way ends, and the next worker leads.
    process.exit(0);
  });
}

process.send?.('ready');
await lead();
