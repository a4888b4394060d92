/** Every option and what it means, with its default. The checks are in validate.ts. */

/** `'shared'`: the lock may be held by several at once, as by readers. */
export type LockMode = 'exclusive' | 'shared';

export type MechanismName = 'flock' | 'fcntl' | 'lockfile';

export interface ByteRange {
  start: number;
  length: number;
}

export interface InterProcessLockOptions {
  /**
   * The lock that is taken: `flock(2)`, open-file-description `fcntl(2)` locks, or a lock folder with a heartbeat.
   * `'auto'` is `flock` where a native layer loads, else `lockfile` with a warning; an explicit name never falls back.
   * @default 'auto'
   */
  mechanism?: 'auto' | MechanismName | undefined;
  /**
   * Order between processes: the kernel's, in which a process that releases and asks again may overtake waiters;
   * strictly first come, first served (`'fifo'`, Linux with the addon, not with `lockfile` or `range`); or fifo where
   * it is available (`'auto'`). All processes that use a path should agree: those without fifo are excluded, but
   * overtake.
   * @default 'kernel'
   */
  fairness?: 'kernel' | 'fifo' | 'auto' | undefined;
  /**
   * Whether an async context that holds the lock (a function run by `withLock`, and what it calls) acquires it again
   * without waiting. The last release frees it. Contexts are told apart by AsyncLocalStorage.
   * @default false
   */
  reentrant?: boolean | undefined;
  /** `lockfile` only: after how many ms without heartbeat a lock counts as abandoned. At least 2000. @default 10000 */
  stale?: number | undefined;
  /** `lockfile` only: ms between heartbeats, 1000 to `stale / 2`. @default stale / 2 */
  update?: number | undefined;
  /**
   * `fcntl` only: lock these bytes of the file and no others. They need not exist. `length: Infinity` = to the end.
   * @default the whole file
   */
  range?: ByteRange | undefined;
  /** Permissions of a lock file that is created, before umask. @default 0o666 */
  mode?: number | undefined;
  /**
   * Give files that are created exactly the permissions `mode`, whatever the umask: for a folder in which several users
   * lock. `fcntl` locks for writing, `fairness: 'fifo'` and semaphores need write access to the file of another user.
   * @default false
   */
  ignoreUmask?: boolean | undefined;
  /**
   * Lock a file that has content of its own. Without it such a file is locked too, but a warning (`FAIRLOCK_DATA_FILE`)
   * says once what can go wrong: a program that saves by renaming takes the locked file away. See `lockBeside`.
   * @default false
   */
  dataFile?: boolean | undefined;
  /** Lock what a symbolic link at the path points to. Otherwise a link there is an ELOOP error. @default false */
  followSymlinks?: boolean | undefined;
  /**
   * Remove the lock file on release, while it is still held. Only for paths that no other program locks:
   * flock(1), fasteners, Go and Rust do not notice a removed file and would make a second holder.
   * @default false
   */
  unlinkOnRelease?: boolean | undefined;
}

export interface InterProcessSemaphoreOptions {
  /** How many may hold it at once: 1 to 999 (above 64 a wait polls), the same in all processes that use the path. */
  permits: number;
  /** See `InterProcessLockOptions`. @default 'kernel' */
  fairness?: 'kernel' | 'fifo' | 'auto' | undefined;
  /** Permissions of a file that is created, before umask. @default 0o666 */
  mode?: number | undefined;
  /** See `InterProcessLockOptions`. @default false */
  ignoreUmask?: boolean | undefined;
  /** @default false */
  followSymlinks?: boolean | undefined;
}

export interface AcquireOptions {
  /** How many ms to wait, from the call on; then `LockTimeoutError`. 0 = try once, in turn. @default Infinity */
  timeout?: number | undefined;
  /** Aborting it ends the wait; `acquire` rejects with its reason. No effect once the lock is granted. */
  signal?: AbortSignal | undefined;
  /**
   * Called once, after `waitNotice` ms of waiting and a look at the system, which does not block, with the holders.
   * What it throws rejects `acquire`.
   */
  onWait?: ((info: WaitInfo) => void) | undefined;
  /** After how many ms of waiting `onWait` is called. @default 1000 */
  waitNotice?: number | undefined;
}

/** A process that holds the lock or waits for it. */
export interface LockParty {
  /** 0: a process that cannot be seen from here, in another PID namespace (container) or of another user. */
  pid: number;
  /** Its command line, as far as the system tells. */
  command?: string;
  /** Its machine, where the lock is one between machines. */
  host?: string;
  /** When it was granted the lock or began to wait, where the lock service tells. */
  since?: Date;
  shared: boolean;
}

/** The processes that hold a lock and wait for it. */
export interface Parties {
  holders: LockParty[];
  waiters: LockParty[];
}

/** What `onWait` is told. */
export interface WaitInfo {
  path: string | undefined;
  /** When the request was made. */
  since: Date;
  /** Requests of this thread that are served before this one. */
  ahead: number;
  /** The processes that hold the lock, best effort. */
  holders: LockParty[];
  /** Why this wait may never end: the async context that waits holds the lock itself. */
  warning?: string;
  /** Of a lock service: the last error for which the wait goes on. */
  cause?: unknown;
}

/** The options with every default filled in. */
export interface ResolvedLockOptions {
  mechanism: 'auto' | MechanismName;
  fairness: 'kernel' | 'fifo' | 'auto';
  reentrant: boolean;
  range: ByteRange | undefined;
  stale: number;
  update: number;
  mode: number;
  ignoreUmask: boolean;
  dataFile: boolean;
  followSymlinks: boolean;
  unlinkOnRelease: boolean;
}

/** What this library's own kinds of lock add to the user's options. */
export interface InternalLockOptions extends ResolvedLockOptions {
  /** Whether a wait goes on with the new file as soon as its file is replaced, as `steal` of web-locks does. */
  followsReplacement: boolean;
  /** Whether a directory at the path may be locked, where the mechanism can do it. */
  directories: boolean;
}
