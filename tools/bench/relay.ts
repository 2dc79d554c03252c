/** The line between source and receiver: the lab's WAN as a process, with a limit, a counter, cuts and resets. */
import { writeFileSync } from 'node:fs';
import type { Bench, Scratch } from './context.ts';
import { unixHttp } from './unix-http.ts';
import { start, type Running } from './processes.ts';
import type { Sample } from './statistics.ts';

export interface Relay {
  /** Where the source connects to. */
  readonly address: string;
  /** 0 for no limit. */
  limit(bytesPerSecond: number): Promise<void>;
  /** Bytes that passed towards the destination, of all connections, TCP payload only. */
  bytes(): Promise<number>;
  /** Nothing passes for so long; connections stay. */
  cut(seconds: number): Promise<void>;
  /** Every connection ends by a TCP reset. */
  reset(): Promise<void>;
  /** Reads the counter every 10 ms; the function that it returns ends it and gives what was read. */
  record(): () => Promise<Sample[]>;
  stop(): Promise<void>;
}

const sampleMs = 10;

export async function startRelay(bench: Bench, folder: Scratch, target: string, bytesPerSecond = 0): Promise<Relay> {
  const control = folder.file('relay.sock');
  const config = folder.file('relay.json');
  const line = { bytesPerSecondMax: Math.round(bytesPerSecond), rttMs: 0 };
  writeFileSync(config, JSON.stringify({ control, line, routes: [{ listen: '127.0.0.1:0', target }] }));
  const running: Running = start(bench.lab, ['relay', config], folder.file('relay.log'));
  const { listening } = await running.ready<{ listening: string[] }>();
  const [address] = listening;
  if (address === undefined) throw new Error('the relay listens nowhere');
  const http = unixHttp(control);
  const bytes = async (): Promise<number> =>
    (await http.ask<{ toDestination: number }>('GET', '/wan/bytes')).toDestination;
  return {
    address,
    bytes,
    async limit(bytesPerSecondMax) {
      await http.ask('PUT', '/wan', { bytesPerSecondMax: Math.round(bytesPerSecondMax) });
    },
    async cut(seconds) {
      await http.ask('POST', '/wan/cut', { seconds });
    },
    async reset() {
      await http.ask('POST', '/wan/reset');
    },
    record() {
      const samples: Sample[] = [];
      let failure: unknown;
      const begunMs = performance.now();
      const sample = async (): Promise<void> => {
        const asked = performance.now();
        const count = await bytes();
        samples.push({ seconds: (asked - begunMs) / 1000, bytes: count });
      };
      const timer = setInterval(() => {
        sample().catch((error: unknown) => (failure = error));
      }, sampleMs);
      return async () => {
        clearInterval(timer);
        await sample();
        if (failure !== undefined) throw new Error('the relay could not be read', { cause: failure });
        return samples;
      };
    },
    async stop() {
      http.close();
      await running.stop();
    },
  };
}
