/** Locks by name, forgotten when no code uses them any more. */
import { FifoMutex, ReaderWriterLock } from '../index.js';
import { WeakValues } from '../weak-values.js';

class WeakContainer<Lock extends object> {
  readonly #locks = new WeakValues<Lock>();

  constructor(private readonly create: () => Lock) {}

  /** The lock of that name; made if there is none. */
  get(name: string): Lock {
    return this.#locks.get(name, this.create);
  }

  /** How many there are at the moment. */
  get size(): number {
    return this.#locks.size;
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
