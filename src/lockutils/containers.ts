/** Locks by name, forgotten when no code uses them any more. */
import { FifoMutex, ReaderWriterLock } from '../index.js';

class WeakContainer<Lock extends object> {
  readonly #locks = new Map<string, WeakRef<Lock>>();
  readonly #forgotten = new FinalizationRegistry<string>((name) => {
    if (this.#locks.get(name)?.deref() === undefined) this.#locks.delete(name);
  });
  readonly #create: () => Lock;

  constructor(create: () => Lock) {
    this.#create = create;
  }

  /** The lock of that name; made if there is none. */
  get(name: string): Lock {
    const known = this.#locks.get(name)?.deref();
    if (known !== undefined) return known;
    const lock = this.#create();
    this.#locks.set(name, new WeakRef(lock));
    this.#forgotten.register(lock, name);
    return lock;
  }

  /** How many there are at the moment. */
  get size(): number {
    return [...this.#locks.values()].filter((weak) => weak.deref() !== undefined).length;
  }
}

/** The internal locks by name. Upstream they are semaphores of one; here a `FifoMutex`, always fair. */
export class Semaphores extends WeakContainer<FifoMutex> {
  constructor() {
    super(() => new FifoMutex());
  }
}

/** Reader/writer locks by name. */
export class FairLocks extends WeakContainer<ReaderWriterLock> {
  constructor() {
    super(() => new ReaderWriterLock());
  }
}
