// Holds `count` locks (folder/0.lock …) until it is told to release them.
import { InterProcessLock } from 'fairlock';

const [folder, count] = process.argv.slice(2);
const handles = [];
for (let i = 0; i < Number(count); i++) handles.push(await new InterProcessLock(`${folder}/${i}.lock`).acquire());
process.on('message', () => {
  for (const handle of handles) handle.release();
  process.disconnect();
});
process.send('holding');
