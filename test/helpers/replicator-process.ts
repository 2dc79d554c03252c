// A real `replicator host` or `replicator receiver` as a process of this machine, with its folders, that a test may kill and start again.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rename, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentEndpoint, ReceiverConfiguration } from '../../dataplane/client/index.ts';

const program = 'build/replicator';
const startMs = 15_000;

export interface ReplicatorProcess {
  readonly endpoint: AgentEndpoint;
  /** Everything it has written so far, over all starts. */
  output(): string;
  /** Starts it (again) and returns when its port answers. */
  start(): Promise<void>;
  /** Kill -9; returns when it is gone. */
  kill(): Promise<void>;
}

export interface HostProcess extends ReplicatorProcess {
  /** Replaces the host's advanced options, as the hypervisor does. */
  setOptions(options: Readonly<Record<string, string>>): Promise<void>;
}

export interface ReceiverProcess extends ReplicatorProcess {
  /** Adds a disk as a file of this size. */
  addDisk(uuid: string, capacityBytes: number): Promise<void>;
}

export async function hostProcess(folder: string, endpoint: AgentEndpoint): Promise<HostProcess> {
  const options = join(folder, 'options.json');
  const process_ = await replicatorProcess('host', endpoint, [
    ...['--state', await made(join(folder, 'state')), '--hypervisor-socket', join(folder, 'hypervisor.sock')],
    ...['--options', options],
  ]);
  const setOptions: HostProcess['setOptions'] = async (values) => {
    await writeFile(`${options}.new`, JSON.stringify(values));
    await rename(`${options}.new`, options);
  };
  await setOptions({});
  return { ...process_, setOptions };
}

export async function receiverProcess(
  folder: string,
  endpoint: AgentEndpoint,
  configuration: ReceiverConfiguration,
): Promise<ReceiverProcess> {
  const disks = await made(join(folder, 'disks'));
  const config = join(folder, 'config.json');
  await writeFile(config, JSON.stringify(configuration), { mode: 0o600 });
  const state = await made(join(folder, 'state'));
  const process_ = await replicatorProcess('receiver', endpoint, [
    '--config',
    config,
    '--state',
    state,
    '--disks',
    disks,
  ]);
  return {
    ...process_,
    async addDisk(uuid, capacityBytes) {
      const flat = join(folder, `${uuid}-flat.vmdk`);
      await writeFile(flat, '');
      await truncate(flat, capacityBytes);
      await symlink(flat, join(disks, uuid));
    },
  };
}

async function replicatorProcess(command: string, endpoint: AgentEndpoint, args: string[]): Promise<ReplicatorProcess> {
  await stat(program).catch(() => {
    throw new Error(`${program} is missing: run tools/setup`);
  });
  let child: ChildProcess | undefined;
  let output = '';
  const listen = ['--address', endpoint.address, '--port', String(endpoint.port)];
  return {
    endpoint,
    output: () => output,
    async start() {
      const started = spawn(program, [command, ...listen, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
      child = started;
      const reap = (): void => void started.kill('SIGKILL');
      process.once('exit', reap);
      started.once('exit', () => process.off('exit', reap));
      started.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
      started.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
      const deadline = Date.now() + startMs;
      while (!(await answers(endpoint))) {
        if (started.exitCode !== null || Date.now() > deadline)
          throw new Error(`replicator ${command} did not start: ${output}`);
        await sleep(50);
      }
    },
    async kill() {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function answers({ address, port }: AgentEndpoint): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, address);
    const end = (answer: boolean) => (): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', end(true)).once('error', end(false));
  });
}

async function made(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  return folder;
}
