// What passing on a turn costs between Node processes at the least: no lock, no library, one wake-up. Each waits for a
// byte in a named pipe, works for HOLD µs, and writes it into the pipe of the next.
//   node scripts/bench/ring.mjs [--seconds 2] [--processes 2,4,8,16] [--hold 100]
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { constants, openSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { spin } from './spin.mjs';
import { folder, here, machine, table } from './support.mjs';

/** One of the ring: counts its turns between START and END, in ns of the monotonic clock. */
function takeTurns(own, next, hold, start, end) {
  const input = new Socket({ fd: openSync(own, constants.O_RDWR | constants.O_NONBLOCK), writable: false });
  const output = openSync(next, constants.O_RDWR);
  let turns = 0;
  input.on('data', () => {
    spin(hold);
    const now = Number(process.hrtime.bigint());
    if (now > start && now < end) turns++;
    writeSync(output, '.');
    if (now > end) process.send(turns, () => process.exit());
  });
  process.send('ready');
}

async function ring(processes, hold, seconds) {
  const pipes = Array.from({ length: processes }, (_, i) => join(folder, `pipe-${processes}-${i}`));
  execFileSync('mkfifo', pipes);
  const start = Number(process.hrtime.bigint()) + (4 + processes * 0.15) * 1e9;
  const children = pipes.map((pipe, i) =>
    fork(here('ring.mjs'), [pipe, pipes[(i + 1) % processes], hold, start, start + seconds * 1e9].map(String)),
  );
  await Promise.all(children.map((child) => once(child, 'message')));
  const counted = children.map((child) => once(child, 'message'));
  writeSync(openSync(pipes[0], constants.O_RDWR), '.');
  return (await Promise.all(counted)).reduce((sum, [turns]) => sum + turns, 0) / seconds;
}

if (process.send !== undefined) {
  const [own, next, ...numbers] = process.argv.slice(2);
  takeTurns(own, next, ...numbers.map(Number));
} else {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '2' },
      processes: { type: 'string', default: '2,4,8,16' },
      hold: { type: 'string', default: '100' },
    },
  });
  const rows = [];
  for (const processes of values.processes.split(',').map(Number)) {
    const perSecond = await ring(processes, Number(values.hold), Number(values.seconds));
    rows.push([processes, perSecond.toFixed(0), `${(1e6 / perSecond - Number(values.hold)).toFixed(0)} µs`]);
  }
  console.log(`${machine()}\n${table(['processes', 'turns per second', 'beside the hold'], rows)}`);
}
