/**
 * Which byte of which file means what. Bytes are locked, never written; they need not exist.
 *
 *     the lock file     0 … 998                      permits of a semaphore, each held exclusively
 *                       1000 + n                     held shared by all that use it as a semaphore of n permits
 *                       2^52                         the right to remove or replace the file
 *                       2^52 + 1                     another process asks whether the file is locked (lock.h)
 *     its sidecar       4096 + t                     ticket t, held exclusively (ticket.h)
 *                       4096 + t … 2^52 - 1          the same while it is being taken
 *                       2^52 + t                     ticket t is of a request for a shared lock
 */
export const MOST_PERMITS = 999;
export const PERMIT_NUMBERS = 1000;
export const REMOVAL_BYTE = 2 ** 52;
export const FIRST_TICKET = 4096;
export const TICKET_MODES = 2 ** 52;
