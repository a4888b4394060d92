/** What serves a lock at the place where its path leads at the moment. */

import type { QueueName } from '../backends/path-registry.js';
import type { LockCore } from '../core/lock-core.js';
import { type LockPlace, setPlace } from '../files/lock-place.js';

/** What the queues of locks are called, by the object: the locks of other copies of this library have their own map. */
const names = new WeakMap<object, () => QueueName>();

/** The same for all spellings of a path. Undefined for what is no lock of this copy. */
export function queueNameOf(lock: object): QueueName | undefined {
  return names.get(lock)?.();
}

export class PlacedCore {
  #core: LockCore;
  #canonical: string;
  /** Of places where the path led before, with handles or requests that are left. */
  #former: LockCore[] = [];
  #isClosed = false;

  constructor(
    lock: object,
    private readonly place: LockPlace,
    private readonly nameAt: (canonical: string) => QueueName,
    private readonly make: (name: QueueName) => LockCore,
    /** Whether the place is looked at for each acquisition: where no open file tells that the path leads elsewhere. */
    private readonly looksEachTime: (core: LockCore) => boolean,
  ) {
    this.#canonical = place.canonical;
    this.#core = make(nameAt(place.canonical));
    setPlace(lock, place);
    names.set(lock, () => {
      place.look();
      return nameAt(place.canonical);
    });
  }

  /** For the next acquisition. */
  get now(): LockCore {
    if (this.looksEachTime(this.#core)) this.place.look();
    if (this.place.canonical !== this.#canonical) this.#move();
    return this.#core;
  }

  get held(): number {
    return this.#former.reduce((sum, { held }) => sum + held, this.#core.held);
  }

  close(): void {
    this.#isClosed = true;
    for (const core of [...this.#former.splice(0), this.#core]) core.close();
  }

  #move(): void {
    this.#former = [...this.#former, this.#core].filter((core) => core.isBusy || !core.dispose());
    this.#canonical = this.place.canonical;
    this.#core = this.make(this.nameAt(this.#canonical));
    if (this.#isClosed) this.#core.close();
  }
}
