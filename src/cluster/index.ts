/** fairlock/cluster: leader election and once-only work among the processes of a machine. */
export { RecordDamagedError } from '../errors.js';
export { LeaderElection, type LeaderElectionOptions } from './leader-election.js';
export type { Leader } from './leader-record.js';
export { type RunOnceOptions, runOnce } from './run-once.js';
export type { Term } from './term.js';
