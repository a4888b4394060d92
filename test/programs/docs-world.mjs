// What the programs of the docs call and do not define: preloaded before each of them.
const nothing = async () => {};
const names = [
  ...['buildReport', 'update', 'migrate', 'sync', 'deploy', 'startBrowser', 'rebuildIndex', 'search', 'transfer'],
  ...['print', 'crawl', 'readThem', 'later', 'now', 'writeReport'],
];
for (const name of names) globalThis[name] = nothing;
globalThis.pages = async () => ['a', 'b'];
let jobs = 0;
// A leader goes on for ever: the program ends at its third job.
globalThis.doPeriodicJob = async () => {
  if (++jobs === 3) process.exit();
};
