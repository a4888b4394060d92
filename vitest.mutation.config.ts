import { defineConfig } from 'vitest/config';

// For Stryker, which runs the tests in threads, from a copy: those that fork programs would test what is built, not what
// is mutated, so they are left out. See npm run mutate.
export default defineConfig({
  oxc: { target: 'es2022' },
  test: {
    include: (
      process.env.MUTATION_TESTS ??
      'test/queue/*,test/abort,test/lock/request,test/lock/fifo-mutex,test/lock/reader-writer-lock,test/lock/model,test/lock/reentrancy'
    )
      .split(',')
      .map((name) => `${name.replace(/\*$/, '*')}.test.ts`),
    setupFiles: ['test/support/expose-gc.ts'],
    testTimeout: 10_000,
  },
});
