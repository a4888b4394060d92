/** What a service's client has thrown, as an error of the lock. */
import { codeOf, LockEngineError, messageOf } from '../errors.js';

/** @param service its name @param name of the lock */
export function engineError(service: string, name: string, error: unknown): unknown {
  if (codeOf(error)?.startsWith('ERR_LOCK_')) return error;
  return new LockEngineError(name, `${service} does not serve it: ${messageOf(error)}`, error);
}
