/** Without the garbage of a BigInt for each look: 16 processes that spin would fill the caches with it. */
export function spin(us) {
  const end = performance.now() + us / 1000;
  while (performance.now() < end);
}
