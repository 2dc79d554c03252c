// Test projects. unit: beside the code, no servers. integration: real Postgres and Temporal, one of each per run.
// e2e, steps and faults: the whole product with the lab; steps goes through the step table on VMs without a guest system,
// faults kills things at random moments. iso: boots the agent ISO.
// Server tests run one file after another: two cores carry one set of servers and guests. Only e2e files, which wait most
// of their time, run two at once, each in nets and ports of its own (test/helpers/world.ts).
import { defineConfig } from 'vitest/config';

const servers = { pool: 'forks' as const, fileParallelism: false, testTimeout: 60_000, hookTimeout: 120_000 };
const elsewhere = ['node_modules/**', 'dist/**', 'build/**', 'dataplane/target/**', 'lab/**', '.landfall/**'];

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          pool: 'forks',
          include: ['**/*.test.ts'],
          exclude: [...elsewhere, 'test/**', '**/*.integration.test.ts'],
        },
      },
      {
        test: {
          name: 'integration',
          ...servers,
          include: ['test/integration/**/*.test.ts', '**/*.integration.test.ts'],
          exclude: elsewhere,
          globalSetup: ['./tools/test-postgres.ts', './tools/test-temporal.ts'],
        },
      },
      {
        test: {
          name: 'e2e',
          ...servers,
          fileParallelism: true,
          maxWorkers: 2,
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 900_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          name: 'steps',
          ...servers,
          include: ['test/steps/**/*.test.ts'],
          maxConcurrency: 16,
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          name: 'faults',
          ...servers,
          include: ['test/faults/**/*.test.ts'],
          testTimeout: 900_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          name: 'iso',
          ...servers,
          include: ['test/iso/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
