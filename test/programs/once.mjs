// Calls runOnce for every key that it is told. The function says that it runs, and goes on when told how to end.
import { appendFileSync } from 'node:fs';
import { runOnce } from 'fairlock/cluster';

const [path, log] = process.argv.slice(2);
let told;

async function work(key) {
  process.send({ key, running: process.pid });
  const how = await new Promise((resolve) => {
    told = resolve;
  });
  if (how === 'fail') throw Object.assign(new RangeError(`no luck with ${key}`), { code: 'ERR_NO_LUCK' });
  appendFileSync(log, `${key}\n`);
  return { key, by: process.pid };
}

process.on('message', async ({ key, how, options }) => {
  if (how !== undefined) return told(how);
  try {
    process.send({ key, outcome: await runOnce(path, () => work(key), { key, ...options }) });
  } catch ({ name, message, code }) {
    process.send({ key, error: { name, message, code } });
  }
});
process.send('ready');
