/**
 * Ports of the embedded services: free ones, kept for the home, so that links and settings stay right after a restart.
 * It must not hold a port: between choosing and using, someone else may take it, and the start then fails and says so.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';

export type PortNames = 'postgres' | 'temporal' | 'temporalUi' | 'codec';

function tryPort(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      const got = typeof address === 'object' && address ? address.port : undefined;
      server.close(() => resolve(got));
    });
  });
}

/** A port that nobody uses now. */
export async function freePort(): Promise<number> {
  const port = await tryPort(0);
  if (port === undefined) throw new Error('no free port on 127.0.0.1');
  return port;
}

function remembered(file: string): Partial<Record<PortNames, number>> {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Partial<Record<PortNames, number>>;
  } catch {
    return {};
  }
}

/** The home's ports: those of the last run where they are free, else new ones. */
export async function choosePorts(file: string): Promise<Record<PortNames, number>> {
  const before = remembered(file);
  const choose = async (name: PortNames): Promise<number> => {
    const port = before[name];
    return ((port !== undefined && (await tryPort(port))) || undefined) ?? freePort();
  };
  const ports = {
    postgres: await choose('postgres'),
    temporal: await choose('temporal'),
    temporalUi: await choose('temporalUi'),
    codec: await choose('codec'),
  };
  writeFileSync(file, JSON.stringify(ports));
  return ports;
}
