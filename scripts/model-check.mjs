// Explores every interleaving of the queue of docs/fairness.md: 3 processes, each step of the protocol one move, with
// a crash, an abort, or (once) the loss of the sidecar's counter at every point. Checked in every state:
//   - never two holders,
//   - no process with a ticket is served while a living waiter has taken one before it, also after the loss of the
//     counter,
//   - every waiter can go on, once those before it are done: no state without a move but the final ones.
const PROCESSES = 3;
const ROUNDS = process.argv.includes('--quick') ? 1 : 2;

// A process: where it is, its ticket, the byte it waits for, the bytes it has waited for (and locks, shared), and from
// which byte on it has all locked while it takes a ticket. Locks die with their owner, as in the kernel.
const initial = {
  processes: Array.from({ length: PROCESSES }, () => ({
    at: 'ask',
    rounds: ROUNDS,
    ticket: -1,
    wait: -1,
    waited: [],
    byte: false,
    from: Infinity,
    last: false,
  })),
  main: -1, // which process has the main lock
  counter: 0,
  queue: [], // processes with a ticket, in the order in which they took it
  lossesLeft: Number(process.argv.includes('--losses') ? 1 : 0),
};

const copy = (state) => ({ ...state, queue: [...state.queue], processes: state.processes.map((one) => ({ ...one })) });
const others = (state, self) => state.processes.filter((_, i) => i !== self);
/** Whether another process has the byte locked exclusively. */
const isTaken = (state, byte, self) =>
  others(state, self).some((one) => one.from <= byte || (one.byte && one.ticket === byte));
/** Whether another process has any byte from this one on locked, shared or not. */
const isLockedFrom = (state, byte, self) =>
  others(state, self).some(
    (one) => one.from < Infinity || one.last || (one.byte && one.ticket >= byte) || one.waited.some((it) => it >= byte),
  );
/** F_OFD_GETLK may answer with any of the earlier tickets: all are tried. */
const earlier = (state, ticket, self) =>
  others(state, self).flatMap((one) => (one.byte && one.ticket < ticket ? [one.ticket] : []));

function letGo(state, self) {
  if (state.main === self) state.main = -1;
  state.queue = state.queue.filter((one) => one !== self);
  Object.assign(state.processes[self], { ticket: -1, wait: -1, waited: [], byte: false, from: Infinity, last: false });
}

/** The ticket is this process's from the moment in which its byte, and all behind it, are locked. */
const take = (state, self, ticket) =>
  go(state, self, 'write', (next, mine) => {
    Object.assign(mine, { ticket, from: ticket, last: false });
    next.queue.push(self);
  });

/** Each: the states that follow from it; none if it has to wait. */
const steps = {
  // A request tries first, or takes its ticket at once where the last one had to wait.
  ask(state, _me, self) {
    return [go(state, self, 'look'), go(state, self, 'take'), go(state, self, 'guess')];
  },
  look(state, _me, self) {
    return [go(state, self, others(state, self).some((one) => one.byte || one.from < Infinity) ? 'take' : 'try')];
  },
  // The queue was empty: a request that has taken a ticket since has asked later.
  try(state, _me, self) {
    if (state.main !== -1) return [go(state, self, 'take')];
    return [go(state, self, 'hold', (next) => (next.main = self))];
  },
  take(state, _me, self) {
    return [isLockedFrom(state, 0, self) ? go(state, self, 'guess') : take(state, self, 0)];
  },
  guess(state, _me, self) {
    return [go(state, self, 'lock behind', (next, mine) => (mine.wait = Math.max(1, next.counter)))];
  },
  'lock behind'(state, me, self) {
    return [isLockedFrom(state, me.wait, self) ? go(state, self, 'lock last') : take(state, self, me.wait)];
  },
  'lock last'(state, _me, self) {
    if (others(state, self).some((one) => one.last || one.from < Infinity)) return [];
    return [go(state, self, 'search', (_next, mine) => (mine.last = true))];
  },
  search(state, _me, self) {
    const locked = others(state, self).flatMap((one) => (one.byte ? [one.ticket, ...one.waited] : one.waited));
    return [take(state, self, Math.max(-1, ...locked) + 1)];
  },
  write(state, me, self) {
    return [go(state, self, 'shrink', (next) => (next.counter = me.ticket === 0 ? next.counter : me.ticket + 1))];
  },
  shrink(state, me, self) {
    const at = me.ticket === 0 ? 'park' : 'wait';
    return [
      go(state, self, at, (_next, mine) => Object.assign(mine, { from: Infinity, byte: true, wait: me.ticket - 1 })),
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
    return [
      go(state, self, 'hold', (next, mine) => {
        Object.assign(mine, { byte: false, ticket: -1, waited: [], wait: -1 });
        next.queue = next.queue.filter((one) => one !== self);
      }),
    ];
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
    if (['lock last', 'wait', 'park'].includes(me.at))
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
  if (move?.what === 'pass' && move.before.queue[0] !== move.self) {
    return `process ${move.self} served before one that took its ticket earlier`;
  }
  return undefined;
}

/** Processes are alike: states that differ only in which is which are one. */
function keyOf({ processes, main, counter, queue, lossesLeft }) {
  const all = processes.map((one, i) => JSON.stringify([...Object.values(one), main === i, queue.indexOf(i)]));
  return `${all.sort().join()}${counter} ${lossesLeft}`;
}

const seen = new Set();
const stack = [{ state: initial, trail: undefined }];
let failure;
while (stack.length > 0 && failure === undefined) {
  const { state, trail } = stack.pop();
  const key = keyOf(state);
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
