// Adds one to the number in a file, so many times; saves it twice in each hold, by renaming another file over it.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { lockBeside } from 'fairlock';

const [file, count] = process.argv.slice(2);
const lock = lockBeside(file);
const save = (text) => {
  writeFileSync(`${file}.${process.pid}`, text);
  renameSync(`${file}.${process.pid}`, file);
};
for (let i = 0; i < Number(count); i++) {
  await lock.withLock(async () => {
    const seen = readFileSync(file, 'utf8');
    save(seen);
    await new Promise((resolve) => setImmediate(resolve));
    save(String(Number(readFileSync(file, 'utf8')) + 1));
  });
}
