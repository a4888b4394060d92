/** Exit codes: flock(1)'s, which are those of sysexits.h. A command's own code, and 128+n for signal n, come on top. */
export const USAGE = 64;
/** The lock file cannot be opened. */
export const NO_INPUT = 66;
/** The command cannot be executed, or a part of fairlock that is needed is not there. */
export const UNAVAILABLE = 69;
/** The system refuses what locking needs: descriptors, memory, locks on this file system. */
export const OS_ERROR = 71;
/** The lock file cannot be created: a read-only file system, a full one. */
export const CANNOT_CREATE = 73;
/** Something was found wrong (doctor). */
export const FAILURE = 1;

/** What is meant for the user, and the code to end with. Both files of the command line have this class. */
export class CliError extends Error {
  readonly isForUser = true;

  constructor(
    message: string,
    readonly exitCode: number,
  ) {
    super(message);
  }
}

export function isForUser(error: unknown): error is CliError {
  return (error as Partial<CliError> | undefined)?.isForUser === true;
}
