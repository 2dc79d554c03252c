// A shadow VM as QEMU plays it: agent ISO, configuration ISO and state disk on SATA, destination disks on SCSI. For the test
// of the agent ISO only; the lab runs the same program as a process.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import type { Socket } from 'node:net';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ShadowVmOptions {
  readonly folder: string;
  readonly agentIso: string;
  readonly configurationIso: string;
  /** Where port 32875 of the guest is found on this machine. */
  readonly address: string;
  readonly disks: readonly { readonly uuid: string; readonly capacityBytes: number }[];
}

export interface ShadowVm {
  /** What the guest has said on its serial console. */
  console(): Promise<string>;
  hotAdd(uuid: string, capacityBytes: number): Promise<void>;
  hotRemove(uuid: string): Promise<void>;
  /** As a host failure does it: no shut-down, nothing flushed. */
  powerOff(): Promise<void>;
}

const stateDiskBytes = 1024 ** 3;

export async function bootShadowVm(options: ShadowVmOptions): Promise<ShadowVm> {
  const { folder } = options;
  const inFolder = (name: string): string => join(folder, name);
  await ensureSize(inFolder('state.raw'), stateDiskBytes);
  for (const disk of options.disks) await ensureSize(inFolder(`${disk.uuid}.raw`), disk.capacityBytes);
  const qmpPath = inFolder('qmp');
  await rm(qmpPath, { force: true });
  const serial = inFolder('serial.log');
  await writeFile(serial, '');

  const cdRom = (at: number, file: string): string[] => [
    ...['-drive', `if=none,id=cd${at},file=${file},media=cdrom,readonly=on,format=raw`],
    ...['-device', `ide-cd,bus=ide.${at},drive=cd${at},bootindex=${at}`],
  ];
  const qemu = spawn(
    'qemu-system-x86_64',
    [
      ...['-M', 'q35', '-accel', 'tcg', '-cpu', 'max', '-m', '512', '-nodefaults', '-no-user-config'],
      ...['-display', 'none', '-no-reboot', '-serial', `file:${serial}`, '-qmp', `unix:${qmpPath},server=on,wait=off`],
      ...cdRom(0, options.agentIso),
      ...cdRom(1, options.configurationIso),
      ...['-drive', `if=none,id=state,file=${inFolder('state.raw')},format=raw`],
      ...['-device', 'ide-hd,bus=ide.2,drive=state', '-device', 'pvscsi,id=scsi0'],
      ...options.disks.flatMap(({ uuid }, at) => [
        ...[
          '-blockdev',
          `driver=raw,node-name=${nodeOf(uuid)},file.driver=file,file.filename=${inFolder(`${uuid}.raw`)}`,
        ],
        ...[
          '-device',
          `scsi-hd,bus=scsi0.0,scsi-id=${at},drive=${nodeOf(uuid)},id=${deviceOf(uuid)},serial=${serialOf(uuid)}`,
        ],
      ]),
      ...['-netdev', `user,id=net0,hostfwd=tcp:${options.address}:32875-:32875`, '-device', 'vmxnet3,netdev=net0'],
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let complaint = '';
  qemu.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
  const ended = once(qemu, 'exit');
  const reap = (): void => void qemu.kill('SIGKILL');
  process.once('exit', reap);
  const qmp = await connectQmp(qmpPath, () => {
    if (qemu.exitCode !== null) throw new Error(`QEMU ended: ${complaint}`);
  });
  let places = options.disks.length;

  return {
    console: () => readFile(serial, 'latin1'),
    async hotAdd(uuid, capacityBytes) {
      await ensureSize(inFolder(`${uuid}.raw`), capacityBytes);
      const file = { driver: 'file', filename: inFolder(`${uuid}.raw`) };
      await qmp('blockdev-add', { driver: 'raw', 'node-name': nodeOf(uuid), file });
      const place = { bus: 'scsi0.0', 'scsi-id': places++ };
      await qmp('device_add', {
        driver: 'scsi-hd',
        ...place,
        drive: nodeOf(uuid),
        id: deviceOf(uuid),
        serial: serialOf(uuid),
      });
    },
    async hotRemove(uuid) {
      await qmp('device_del', { id: deviceOf(uuid) });
    },
    async powerOff() {
      qemu.kill('SIGKILL');
      await ended;
      process.off('exit', reap);
    },
  };
}

const serialOf = (uuid: string): string => uuid.replaceAll('-', '');
const nodeOf = (uuid: string): string => `node-${serialOf(uuid).slice(-16)}`;
const deviceOf = (uuid: string): string => `disk-${serialOf(uuid).slice(-16)}`;

async function ensureSize(path: string, sizeBytes: number): Promise<void> {
  await writeFile(path, '', { flag: 'a' });
  await truncate(path, sizeBytes);
}

type Qmp = (command: string, args: object) => Promise<void>;

/** One command at a time; events in between are passed over. */
async function connectQmp(path: string, check: () => void): Promise<Qmp> {
  let socket: Socket | undefined;
  while (socket === undefined) {
    check();
    const attempt = createConnection(path);
    const opened = await new Promise<boolean>((resolve) => {
      attempt.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    if (opened) socket = attempt;
    else await sleep(100);
  }
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  const connection = socket;
  connection.unref();
  const run: Qmp = async (command, args) => {
    connection.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    for (;;) {
      const line = await lines.next();
      if (line.done === true) throw new Error('QEMU closed its control socket');
      const message = JSON.parse(line.value) as { return?: unknown; error?: { desc: string } };
      if (message.error !== undefined) throw new Error(`${command}: ${message.error.desc}`);
      if (message.return !== undefined) return;
    }
  };
  await run('qmp_capabilities', {});
  return run;
}
