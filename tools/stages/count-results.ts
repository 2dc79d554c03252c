/** How many tests a stage ran, from what its tool wrote. A tool that failed without a failing test counts as one failure. */
import { readFileSync } from 'node:fs';
import type { Stage } from './stages.ts';

export interface Results {
  readonly passed: number;
  readonly failed: number;
}

const sum = (output: string, pattern: RegExp): number =>
  [...output.matchAll(pattern)].reduce((total, match) => total + Number(match[1]), 0);

const occurrences = (output: string, pattern: RegExp): number => [...output.matchAll(pattern)].length;

function vitestResults(name: string): Results {
  try {
    const report = JSON.parse(readFileSync(`build/logs/test-${name}.json`, 'utf8')) as {
      numPassedTests: number;
      numFailedTests: number;
    };
    return { passed: report.numPassedTests, failed: report.numFailedTests };
  } catch {
    return { passed: 0, failed: 0 };
  }
}

export function countResults(stage: Pick<Stage, 'name' | 'count'>, output: string, status: number): Results {
  const counted: Record<Stage['count'], () => Results> = {
    one: () => ({ passed: status === 0 ? 1 : 0, failed: 0 }),
    vitest: () => vitestResults(stage.name),
    cargo: () => ({
      passed: sum(output, /^test result: .*?(\d+) passed/gm),
      failed: sum(output, /^test result: .*?(\d+) failed/gm),
    }),
    go: () => ({ passed: occurrences(output, /^--- PASS: /gm), failed: occurrences(output, /^--- FAIL: /gm) }),
  };
  const { passed, failed } = counted[stage.count]();
  return { passed, failed: status === 0 ? failed : Math.max(1, failed) };
}
