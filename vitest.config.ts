import { defineConfig } from 'vitest/config';

export default defineConfig({
  // Node 20 knows neither `using` nor decorators.
  oxc: { target: 'es2022' },
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 60_000,
    execArgv: ['--expose-gc'],
  },
});
