// The decorators as a class uses them; run as TC39 decorators and, with another tsconfig, as experimental ones.
import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { FifoMutex, InterProcessLock, ReaderWriterLock } from 'fairlock';
import {
  interProcessLocked,
  interProcessReadLocked,
  interProcessWriteLocked,
  locked,
  readLocked,
  writeLocked,
} from 'fairlock/decorators';
import { synchronized } from 'fairlock/lockutils';

const folder = process.argv[2] as string;
const seen: Record<string, unknown> = {};

class Service {
  readonly _lock = new FifoMutex();
  readonly other = new FifoMutex();
  readonly log: string[] = [];

  @interProcessLocked(`${folder}/method`)
  async method(a: number, b: number): Promise<string> {
    const excluded = new InterProcessLock(`${folder}/method`).tryAcquire() === null;
    await setImmediate();
    return `${a + b} ${this instanceof Service} ${excluded}`;
  }

  @interProcessLocked((self: Service, id: string) => `${folder}/${self.constructor.name}-${id}`)
  async byArgument(id: string): Promise<boolean> {
    return existsSync(`${folder}/Service-${id}`);
  }

  @interProcessLocked(`${folder}/static`)
  static async create(): Promise<string> {
    return Service.name;
  }

  @interProcessReadLocked(`${folder}/rw`)
  async read(): Promise<void> {
    this.log.push('read');
    await setImmediate();
    this.log.push('read end');
  }

  @interProcessWriteLocked(`${folder}/rw`)
  async write(): Promise<void> {
    this.log.push('write');
    await setImmediate();
    this.log.push('write end');
  }

  @locked
  async bare(): Promise<boolean> {
    return this._lock.held;
  }

  @locked()
  async called(): Promise<boolean> {
    return this._lock.held;
  }

  @locked('other')
  async named(): Promise<boolean[]> {
    return [this._lock.held, this.other.held];
  }

  @locked((self: Service) => self.other)
  async byFunction(): Promise<boolean[]> {
    return [this._lock.held, this.other.held];
  }

  @locked(['_lock', 'other'])
  async both(): Promise<boolean[]> {
    return [this._lock.held, this.other.held];
  }

  @locked('missing')
  async without(): Promise<void> {}

  @synchronized('work')
  async exclusive(): Promise<void> {
    mkdirSync(`${folder}/inside`);
    await setImmediate();
    rmdirSync(`${folder}/inside`);
  }
}

class Shared {
  readonly _lock = new ReaderWriterLock();

  @readLocked
  async read(): Promise<unknown> {
    return [this._lock.isReader(), this._lock.owner];
  }

  @writeLocked('_lock')
  async write(): Promise<unknown> {
    return [this._lock.isWriter(), this._lock.owner];
  }
}

const service = new Service();
seen.method = await service.method(1, 2);
seen.name = [service.method.name, service.method.length, Service.create.name];
seen.byArgument = await service.byArgument('7');
seen.static = await Service.create();
await Promise.all([service.read(), service.read(), service.write(), service.read()]);
seen.log = service.log;
seen.locked = [
  await service.bare(),
  await service.called(),
  await service.named(),
  await service.byFunction(),
  await service.both(),
];
seen.afterwards = [service._lock.held, service.other.held];
seen.missing = await service.without().catch((error: Error) => `${error.name}: ${error.message}`);
const shared = new Shared();
seen.shared = [await shared.read(), await shared.write(), shared._lock.owner];
await Promise.all([service.exclusive(), new Service().exclusive(), service.exclusive()]);
console.log(JSON.stringify(seen));
