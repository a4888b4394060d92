/** Errors that mean "this kind of lock does not work here", told as what they are. */
import { codeOf, LockUnsupportedError } from '../../errors.js';

/** fcntl(2), flock(2): a file system has no locks (NFS without lockd, some FUSE), or the kernel no OFD locks (EINVAL). */
const NO_LOCKS_HERE = new Set(['ENOLCK', 'ENOSYS', 'EOPNOTSUPP', 'ENOTSUP', 'EINVAL']);

/** The kernel does not tell what refuses: file systems, old kernels and the filters of sandboxes use the same codes. */
export function explained(error: unknown, name: 'flock' | 'fcntl', path: string): unknown {
  const code = codeOf(error) ?? '';
  if (!NO_LOCKS_HERE.has(code)) return error;
  const refused = `${name} locks are refused here (${code})`;
  const why = `${refused}: its file system, the kernel or a sandbox does not allow them`;
  return new LockUnsupportedError(path, why, error);
}

/**
 * A file on which another process has a lease (Samba) cannot be opened, without waiting, until the lease is given up.
 */
export function isLeased(error: unknown): boolean {
  return codeOf(error) === 'EAGAIN' && (error as NodeJS.ErrnoException).syscall === 'open';
}
