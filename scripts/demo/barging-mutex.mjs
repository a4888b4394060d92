// The contrast: an unfair mutex. A release wakes the waiters, but the first to ask gets it: a worker that releases
// and asks again, without yielding, wins every time (openstack-dev, May 2017, lockutils on eventlet).
export class BargingMutex {
  #locked = false;
  #sleepers = [];

  async acquire() {
    while (this.#locked) await new Promise((wake) => this.#sleepers.push(wake));
    this.#locked = true;
  }

  release() {
    this.#locked = false;
    for (const wake of this.#sleepers.splice(0)) wake();
  }
}
