// Lock metrics for OpenTelemetry: how long requests wait, how long locks are held, and how many requests end without
// one. Run with: npx tsx examples/metrics.ts
import { subscribe } from 'node:diagnostics_channel';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { Attributes, Meter } from '@opentelemetry/api';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  InterProcessLock,
  type LockCancelEvent,
  type LockEvent,
  type LockGrantEvent,
  type LockLossEvent,
  type LockReleaseEvent,
  type LockRequestEvent,
} from 'fairlock';

/** Measures all locks of this thread from now on. */
export function measureLocks(meter: Meter): void {
  const wait = meter.createHistogram('fairlock.wait', { unit: 'ms', description: 'from the request to the grant' });
  const hold = meter.createHistogram('fairlock.hold', { unit: 'ms', description: 'from the grant to the release' });
  const waiting = meter.createUpDownCounter('fairlock.waiting', { description: 'requests that wait' });
  const cancelled = meter.createCounter('fairlock.cancelled', { description: 'requests that ended without the lock' });
  const lost = meter.createCounter('fairlock.lost', { description: 'locks lost while held' });
  const requestedAt = new Map<number, number>();
  const grantedAt = new WeakMap<object, number>();
  const of = ({ path, mode }: LockEvent): Attributes => ({ path: path ?? 'in process', mode });
  const on = <T extends LockEvent>(channel: string, listener: (event: T) => void): void =>
    subscribe(channel, (message) => listener(message as T));

  on<LockRequestEvent>('fairlock:request', (event) => {
    requestedAt.set(event.request, performance.now());
    waiting.add(1, of(event));
  });
  on<LockGrantEvent>('fairlock:grant', (event) => {
    const now = performance.now();
    grantedAt.set(event.hold, now);
    if (event.request === undefined) return wait.record(0, of(event));
    wait.record(now - (requestedAt.get(event.request) ?? now), of(event));
    requestedAt.delete(event.request);
    waiting.add(-1, of(event));
  });
  on<LockCancelEvent>('fairlock:cancel', (event) => {
    requestedAt.delete(event.request);
    waiting.add(-1, of(event));
    cancelled.add(1, of(event));
  });
  on<LockReleaseEvent>('fairlock:release', (event) => {
    const now = performance.now();
    hold.record(now - (grantedAt.get(event.hold) ?? now), of(event));
  });
  on<LockLossEvent>('fairlock:loss', (event) => lost.add(1, of(event)));
}

// A program with metrics: ten tasks want one lock, the last one has no patience.
const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
const provider = new MeterProvider({ readers: [new PeriodicExportingMetricReader({ exporter })] });
measureLocks(provider.getMeter('fairlock'));

const folder = mkdtempSync(join(tmpdir(), 'metrics-'));
const lock = new InterProcessLock(join(folder, 'lock'));
const tasks = Array.from({ length: 9 }, () => lock.withLock(() => setImmediate()));
const impatient = lock.withLock(() => {}, { timeout: 0 }).catch(({ code }) => console.log(code));
await Promise.all([...tasks, impatient]);

await provider.forceFlush();
for (const { descriptor, dataPoints } of exporter.getMetrics()[0]?.scopeMetrics[0]?.metrics ?? []) {
  for (const { value } of dataPoints) {
    console.log(descriptor.name, typeof value === 'number' ? value : `${(value as { count: number }).count} times`);
  }
}
await provider.shutdown();
rmSync(folder, { recursive: true });
