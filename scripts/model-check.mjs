// Explores every interleaving of the queue of docs/fairness.md: 3 processes, each step of the protocol one move, with
// a crash, an abort, or (once) the loss of the sidecar's counter at every point. Checked in every state:
//   - never two holders,
//   - no process with a ticket is served while a living waiter has an earlier one, also after the loss of the counter,
//   - every waiter can go on, once those before it are done: no state without a move but the final ones.
const PROCESSES = 3;
const ROUNDS = process.argv.includes('--quick') ? 1 : 2;

// A process: where it is, its ticket, the byte it waits for, the bytes it has waited for (and locks, shared). Locks die
// with their owner, as in the kernel.
const initial = {
  processes: Array.from({ length: PROCESSES }, () => ({
    at: 'ask',
    rounds: ROUNDS,
    ticket: -1,
    read: -1,
    wait: -1,
    waited: [],
    byte: false,
  })),
  main: -1, // which process has the main lock
  zero: -1, // which process has byte 0
  counter: 0,
  lossesLeft: Number(process.argv.includes('--losses') ? 1 : 0),
};

const copy = (state) => ({ ...state, processes: state.processes.map((one) => ({ ...one })) });
const bytesOf = (state) => state.processes.filter((one) => one.byte).map((one) => one.ticket);
const isTaken = (state, ticket, self) =>
  state.processes.some((one, i) => i !== self && one.byte && one.ticket === ticket);
/** A process that takes a ticket sees the shared locks too. */
const lockedOf = (state, self) =>
  state.processes.flatMap((one, i) => (i === self ? [] : one.byte ? [one.ticket, ...one.waited] : one.waited));
/** F_OFD_GETLK may answer with any of the earlier bytes: all are tried. */
const earlier = (state, ticket, self) =>
  state.processes.flatMap((one, i) => (i !== self && one.byte && one.ticket < ticket ? [one.ticket] : []));

function letGo(state, self) {
  if (state.main === self) state.main = -1;
  if (state.zero === self) state.zero = -1;
  Object.assign(state.processes[self], { ticket: -1, read: -1, wait: -1, waited: [], byte: false });
}

/** Each step: the states that follow from it; none if it has to wait. */
const steps = {
  ask(state, _me, self) {
    if (state.main !== -1) return [go(state, self, 'lock zero')];
    return [go(state, self, 'look', (next) => (next.main = self))];
  },
  // The main lock is ours: is it our turn?
  look(state, _me, self) {
    if (bytesOf(state).length === 0) return [go(state, self, 'hold')];
    return [go(state, self, 'lock zero', (next) => (next.main = -1))];
  },
  'lock zero'(state, _me, self) {
    return state.zero === -1 ? [go(state, self, 'read', (next) => (next.zero = self))] : [];
  },
  read(state, _me, self) {
    return [go(state, self, 'lock byte', (next, mine) => (mine.read = next.counter))];
  },
  'lock byte'(state, me, self) {
    const locked = lockedOf(state, self);
    // A counter that is too low is noticed: nothing may be locked from it on.
    const ticket = locked.some((byte) => byte >= me.read) ? Math.max(...locked) + 1 : me.read;
    return [go(state, self, 'write', (_next, mine) => Object.assign(mine, { ticket, byte: true }))];
  },
  write(state, me, self) {
    return [go(state, self, 'unlock zero', (next) => (next.counter = me.ticket + 1))];
  },
  'unlock zero'(state, me, self) {
    return [
      go(state, self, me.ticket === 0 ? 'look again' : 'wait', (next, mine) => {
        next.zero = -1;
        mine.wait = me.ticket - 1;
      }),
    ];
  },
  // A shared lock on the byte, which is kept as long as the ticket.
  wait(state, me, self) {
    if (isTaken(state, me.wait, self)) return [];
    return [
      go(state, self, 'look again', (_next, mine) => (mine.waited = [...me.waited, me.wait].sort((a, b) => a - b))),
    ];
  },
  'look again'(state, me, self) {
    const left = earlier(state, me.ticket, self);
    if (left.length === 0) return [go(state, self, 'park')];
    return left.map((ticket) => go(state, self, 'wait', (_next, mine) => (mine.wait = ticket)));
  },
  park(state, _me, self) {
    return state.main === -1 ? [go(state, self, 'pass', (next) => (next.main = self))] : [];
  },
  pass(state, _me, self) {
    return [go(state, self, 'hold', (_next, mine) => Object.assign(mine, { byte: false, ticket: -1, waited: [] }))];
  },
  hold(state, me, self) {
    return [
      go(state, self, me.rounds > 1 ? 'ask' : 'done', (next, mine) => {
        letGo(next, self);
        mine.rounds--;
      }),
    ];
  },
};

function go(state, self, at, change = () => {}) {
  const next = copy(state);
  next.processes[self].at = at;
  change(next, next.processes[self]);
  return next;
}

function movesOf(state) {
  const moves = [];
  state.processes.forEach((me, self) => {
    if (me.at === 'done' || me.at === 'dead') return;
    for (const next of steps[me.at](state, me, self)) moves.push({ self, what: me.at, next });
    // Abort: leaves the queue wherever it waits. Crash: at any point.
    if (['lock zero', 'wait', 'park'].includes(me.at))
      moves.push({ self, what: 'abort', next: go(state, self, 'done', (next) => letGo(next, self)) });
    moves.push({ self, what: 'crash', next: go(state, self, 'dead', (next) => letGo(next, self)) });
  });
  if (state.lossesLeft > 0)
    moves.push({ self: -1, what: 'lose the counter', next: { ...copy(state), counter: 0, lossesLeft: 0 } });
  return moves;
}

function check(state, move) {
  const inside = state.processes.filter((one) => one.at === 'hold').length;
  if (inside > 1) return 'two holders';
  const mover = move && move.what === 'pass' ? move.before.processes[move.self] : undefined;
  if (mover !== undefined && earlier(move.before, mover.ticket, move.self).length > 0) {
    return `ticket ${mover.ticket} served before an earlier one`;
  }
  return undefined;
}

const seen = new Set();
const stack = [{ state: initial, trail: undefined }];
let failure;
while (stack.length > 0 && failure === undefined) {
  const { state, trail } = stack.pop();
  const key = JSON.stringify(state);
  if (seen.has(key)) continue;
  seen.add(key);
  const moves = movesOf(state);
  const own = moves.filter(({ what }) => what !== 'crash' && what !== 'abort' && what !== 'lose the counter');
  const waiting = state.processes.some(({ at }) => at !== 'done' && at !== 'dead');
  if (waiting && own.length === 0) failure = { what: 'stranded: no process can go on', state, trail };
  for (const move of moves) {
    const wrong = check(move.next, { ...move, before: state });
    const step = { self: move.self, what: move.what, trail };
    if (wrong !== undefined) failure = { what: wrong, state: move.next, trail: step };
    stack.push({ state: move.next, trail: step });
  }
}

if (failure === undefined) {
  console.log(`${seen.size} states of ${PROCESSES} processes: never two holders, tickets in order, no waiter stranded`);
} else {
  const path = [];
  for (let step = failure.trail; step !== undefined; step = step.trail) path.unshift(`${step.self}: ${step.what}`);
  console.log(`${failure.what}\n${path.join('\n')}\n${JSON.stringify(failure.state, null, 2)}`);
  process.exitCode = 1;
}
