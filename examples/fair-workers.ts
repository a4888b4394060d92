// The program of openstack-dev, May 2017, with fairlock/lockutils: four workers, four jobs each, one lock. With the
// locks of that day worker 0 did all its jobs before worker 1 got one, unless the workers yielded. Here it makes no
// difference. Run with: npx tsx examples/fair-workers.ts
import { setImmediate } from 'node:timers/promises';
import { synchronizedWithPrefix } from 'fairlock/lockutils';

const synchronized = synchronizedWithPrefix('foo');

class Worker {
  #count = 0;

  constructor(private readonly yields: boolean) {}

  @synchronized('bar')
  async doWork(index: number): Promise<void> {
    await setImmediate(); // the work
    console.log(`worker=${index}: ${this.#count + 1}`);
    this.#count++;
  }

  async run(index: number): Promise<void> {
    for (let job = 0; job < 4; job++) {
      await this.doWork(index);
      if (this.yields) await setImmediate();
    }
  }
}

for (const yields of [false, true]) {
  console.log(yields ? 'with yielding' : 'without yielding');
  await Promise.all([0, 1, 2, 3].map((index) => new Worker(yields).run(index)));
}
