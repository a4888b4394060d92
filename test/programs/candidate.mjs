// Stands for election again and again. Each term it leads writes a file of its own: by which process, from when, until
// when (the machine's monotonic clock), the last of which grows until the term ends or the process is killed.
import { closeSync, openSync, writeSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { LeaderElection } from 'fairlock/cluster';

const [path, log, options = '{}'] = process.argv.slice(2);
const now = () => String(process.hrtime.bigint()).padStart(20, '0');

const election = new LeaderElection(path, JSON.parse(options));
process.on('message', (message) => (message === 'resign' ? election.resign() : election.close()));
process.send('standing');
for await (const { token, signal } of election) {
  const begin = now();
  const fd = openSync(`${log}/${token}-${process.pid}`, 'wx');
  const write = () => writeSync(fd, `${begin} ${now()}\n`, 0);
  write();
  process.send({ token });
  while (!signal.aborted) {
    write();
    await setTimeout(1); // A leader that spins would take a processor from those that are to take over.
  }
  closeSync(fd);
}
process.disconnect();
