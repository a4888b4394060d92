/** Texts that several commands print. */
import { errnoOf, messageOf, systemErrors } from '../errors.js';

/** What the system says of an error, in its own words, without the call and the path. */
export function reasonOf(error: unknown): string {
  const errno = errnoOf(error);
  return (errno === undefined ? undefined : systemErrors().get(-errno)?.[1]) ?? messageOf(error);
}

/** `12 s`, `3 min`, `5 h`, `2 d`: the largest unit that fits. */
function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** `12 s ago`. */
export function ago(date: Date): string {
  return `${duration(Date.now() - date.getTime())} ago`;
}
