// The dials as options of commands: how they are written and what they mean to the API.
import { InvalidArgumentError, type Command } from 'commander';
import type { Dials } from '../contracts/rest.ts';
import { parseByteRate } from './format.ts';

type DialOptions = Partial<Pick<Dials, 'replicationRate' | 'writeThrottling'>> & {
  limit?: string;
  latencyMax?: string;
};

export function addDialOptions(command: Command): Command {
  return command
    .option('--replication-rate <0-100>', 'how hard background replication pushes; 50 yields to the guest', Number)
    .option('--write-throttling <0-100>', 'how much guest writes may be slowed; 0 = off', Number)
    .option('--limit <rate>', 'absolute limit such as 8MB/s or 100MiB/s, or "none"', checkRate)
    .option('--latency-max <ms>', 'most that one guest write is slowed, in ms, or "none"');
}

/** What was said of the dials; the API checks the ranges. */
export function dialsFrom({ replicationRate, writeThrottling, limit, latencyMax }: DialOptions): Partial<Dials> {
  return {
    ...(replicationRate === undefined ? {} : { replicationRate }),
    ...(writeThrottling === undefined ? {} : { writeThrottling }),
    ...(limit === undefined ? {} : { bytesPerSecondMax: limit === 'none' ? null : (parseByteRate(limit) ?? null) }),
    ...(latencyMax === undefined ? {} : { addedWriteLatencyMsMax: latencyMax === 'none' ? null : Number(latencyMax) }),
  };
}

function checkRate(text: string): string {
  if (text === 'none' || parseByteRate(text) !== undefined) return text;
  throw new InvalidArgumentError('Write a rate such as 8MB/s, 100MiB/s or 25000000, or "none".');
}
