// The history of a run: what each client wrote down, and the checker that finds out whether the locks kept their word.
//
// An event is one line of JSON with `at`, the machine-wide monotonic clock in ns (the same for all processes; Python's
// time.monotonic_ns() too). A client is one thread of one process, named `<pid>.<thread>.<number>`. Of each request:
//   ask     id, client, resource, mode, how   before it is asked for: by acquire, try or sync
//   ticket  id                            a fifo request has its place among those of all processes
//   begin   id, token?, permit?           the lock is held, written by the holder
//   end     id                            before release() is called
//   gone    id, why                       not granted: the code or name of the error, or null
//   lost    id                            handle.signal told the holder that the lock is lost
// And of what was done to them:
//   ends    client | process              it is about to be killed, terminated, or to exit
//   taken   resource, since               a stranger removed or replaced the lock file, between `since` and `at`
import { openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export const now = () => Number(process.hrtime.bigint());

/** What a client writes with. The file stays open, so it needs no descriptor when there is none. */
export function recorder(folder, client) {
  const fd = openSync(join(folder, `log-${client}`), 'a');
  return (event) => writeSync(fd, `${JSON.stringify({ at: now(), ...event })}\n`);
}

export function readHistory(folder) {
  const lines = readdirSync(folder)
    .filter((name) => name.startsWith('log-'))
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n'));
  // A client that was killed may have left half a line.
  return lines.filter((line) => line.endsWith('}')).map((line) => JSON.parse(line));
}

/**
 * A holder that is stopped between its look at the path and its unlink removes the file that a stranger has put there
 * meanwhile, under the next holder: so what a stranger did may show a while later. (What no stranger touches has
 * resources of its own, of which no overlap is explained.)
 */
const STOPPED_NS = 500e6;

/** One entry for each request, in the order in which they were made. */
function requestsOf(events) {
  const requests = new Map();
  const violations = [];
  const ended = new Map();
  const endOf = (client) => Math.min(ended.get(client) ?? Infinity, ended.get(client.split('.')[0]) ?? Infinity);
  for (const event of events.sort((a, b) => a.at - b.at)) {
    const { what, id, at } = event;
    if (what === 'ask') requests.set(id, { ...event, asked: at });
    const name = event.client ?? String(event.process);
    if (what === 'ends' && !ended.has(name)) ended.set(name, at);
    const request = requests.get(id);
    if (request === undefined) continue;
    if (what === 'begin' && request.gone !== undefined)
      violations.push(`granted after it was cancelled: ${id} (${request.why})`);
    if (what === 'ticket') request.ticket = at;
    if (what === 'begin') Object.assign(request, { begin: at, token: event.token, permit: event.permit });
    if (what === 'end') request.end = at;
    if (what === 'gone') Object.assign(request, { gone: at, why: event.why });
    if (what === 'lost') request.lost = at;
  }
  for (const request of requests.values()) {
    request.killed = endOf(request.client);
    if (request.begin === undefined || request.end !== undefined) continue;
    if (request.killed === Infinity) violations.push(`neither released nor killed: ${request.id}`);
    // From the kill on the lock may be another's; what the holder wrote after it, it wrote while it lived.
    request.end = Math.max(request.begin, request.killed);
  }
  return { requests: [...requests.values()], violations };
}

/**
 * @param resources by name: `{ permits?, fifo?, tokens? }`
 * @returns violations (texts), and figures for the report
 */
export function check(events, resources) {
  const { requests, violations } = requestsOf(events);
  const taken = events.filter(({ what }) => what === 'taken');
  const figures = {};
  for (const [name, resource] of Object.entries(resources)) {
    const all = requests.filter((request) => request.resource === name);
    const held = all.filter(({ begin }) => begin !== undefined).sort((a, b) => a.begin - b.begin);
    const isExplained = ([one, other]) =>
      taken.some((by) => by.resource === name && by.at >= one.asked - STOPPED_NS && by.since <= other.begin);
    const found = resource.permits === undefined ? overlaps(held) : tooMany(held, resource.permits);
    const wrong = found
      .filter((pair) => !isExplained(pair))
      .map(([one, other, what]) => `${what}: ${one.id} and ${other.id}`);
    if (resource.tokens) wrong.push(...tokensOf(held));
    // A candidate that cannot write its token (the disk is full) lets others go before and asks again.
    if (!resource.tokens) wrong.push(...orderInThreads(held, resource));
    if (resource.fifo) wrong.push(...orderBetween(held));
    violations.push(...wrong.map((text) => `${name}: ${text}`));
    const waits = held.map(({ asked, begin }) => (begin - asked) / 1e6).sort((a, b) => a - b);
    figures[name] = {
      requests: all.length,
      grants: held.length,
      cancelled: all.filter(({ gone }) => gone !== undefined).length,
      explained: found.filter(isExplained).length,
      'median wait ms': Number((waits[Math.floor(waits.length / 2)] ?? 0).toFixed(2)),
      'longest ms': Math.round(waits.at(-1) ?? 0),
    };
  }
  for (const { id, begin, gone, killed } of requests) {
    if (begin === undefined && gone === undefined && killed === Infinity)
      violations.push(`neither granted nor cancelled: ${id}`);
  }
  return { violations, figures };
}

/** Pairs that were held at the same time, of which one is exclusive. */
function overlaps(held) {
  const found = [];
  let current = [];
  for (const one of held) {
    current = current.filter(({ end }) => end > one.begin);
    for (const other of current)
      if (one.mode === 'exclusive' || other.mode === 'exclusive') found.push([other, one, 'two holders']);
    current.push(one);
  }
  return found;
}

/** More holders than permits, or two with the same permit. */
function tooMany(held, permits) {
  const found = [];
  let current = [];
  for (const one of held) {
    current = current.filter(({ end }) => end > one.begin);
    if (current.length >= permits) found.push([current[0], one, `more than ${permits} holders`]);
    const same = current.find(({ permit }) => permit !== undefined && permit === one.permit);
    if (same !== undefined) found.push([same, one, `permit ${one.permit} twice`]);
    current.push(one);
  }
  return found;
}

function tokensOf(held) {
  return held.flatMap((one, i) =>
    i > 0 && one.token <= held[i - 1].token ? [`token ${one.token} after ${held[i - 1].token}`] : [],
  );
}

/**
 * In a thread requests are granted in the order in which they were made. Where two may hold together, one that is
 * granted at once (try, sync) may be written down before an earlier one whose promise was resolved, but not yet
 * awaited.
 */
function orderInThreads(held, { permits }) {
  const found = [];
  const latest = new Map();
  const excludes = ({ mode }) => permits === undefined && mode === 'exclusive';
  for (const one of held.filter((request) => request.how === 'acquire' || excludes(request))) {
    const before = latest.get(one.client);
    if (before !== undefined && one.asked < before.asked)
      found.push(`${one.id} was made before ${before.id}, and granted after it`);
    if (before === undefined || one.asked > before.asked) latest.set(one.client, one);
  }
  return found;
}

/**
 * A request that had its ticket before another one was even made is served first. Of two shared ones nothing is said:
 * they hold together, and which process hears of it first is the scheduler's choice.
 */
function orderBetween(held) {
  const found = [];
  let any;
  let exclusive;
  for (const one of [...held].reverse()) {
    const before = one.mode === 'shared' ? exclusive : any;
    if (before !== undefined && before.ticket < one.asked)
      found.push(`${before.id} had its ticket before ${one.id} asked, and came after it`);
    if (one.ticket === undefined) continue;
    if (any === undefined || one.ticket < any.ticket) any = one;
    if (one.mode === 'exclusive' && (exclusive === undefined || one.ticket < exclusive.ticket)) exclusive = one;
  }
  return found;
}
