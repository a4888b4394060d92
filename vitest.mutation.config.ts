import { defineConfig } from 'vitest/config';

// For Stryker, which runs the tests in threads, from a copy: those that fork programs would test what is built, not what
// is mutated, so they are left out. See npm run mutate.
export default defineConfig({
  oxc: { target: 'es2022' },
  test: {
    include: (
      process.env.MUTATION_TESTS ??
      'test/core/*,test/abort,test/backends/path-registry,test/locks/fifo-mutex,test/locks/reader-writer-lock'
    )
      .split(',')
      .map((name) => `${name.replace(/\*$/, '*')}.test.ts`),
    setupFiles: ['test/support/expose-gc.ts'],
    testTimeout: 10_000,
  },
});
