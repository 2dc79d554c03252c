// A source host daemon and a receiver as real processes, enrolled, with one disk on each side and a job between them: the
// data path without vCenter, database or workflow. Writes go through the tap with qemu-io, an NBD client of its own kind.
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { open, readFile, truncate, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { enrolAgent, openAuthority, openControlClient, spiffeIdOf } from '../../dataplane/client/index.ts';
import type { ControlClient, JobSpec, JobStatus } from '../../dataplane/client/index.ts';
import { waitFor } from '../../demo/harness/wait.ts';
import { hostProcess, receiverProcess, type HostProcess, type ReceiverProcess } from './replicator-process.ts';

const run = promisify(execFile);

export interface DataPath {
  readonly host: HostProcess;
  readonly receiver: ReceiverProcess;
  readonly control: ControlClient;
  readonly jobId: string;
  readonly sourceFlat: string;
  readonly destinationFlat: string;
  /** Makes sure that the job runs, and signs its certificate when it asks for one. */
  ensureJob(dials?: Partial<JobSpec['dials']>): Promise<JobStatus>;
  follow(what: string, reached: (status: JobStatus) => boolean, timeoutMs?: number): Promise<JobStatus>;
  /** Runs qemu-io commands against the tap, as the guest's writes. */
  guestIo(commands: readonly string[]): Promise<void>;
  /** What the hypervisor says when the VM is powered off. */
  closeVm(): Promise<void>;
  /** Bytes of content that the receiver has written to the disk since it was started. */
  writtenBytes(): Promise<number>;
  sourceProcessIds(): Promise<number[]>;
  close(): Promise<void>;
}

/** The source disk is a sparse file; its first `dataBytes` are random. */
export async function openDataPath(
  folder: string,
  net: string,
  disk: { readonly capacityBytes: number; readonly dataBytes: number },
): Promise<DataPath> {
  const authority = await openAuthority(join(folder, 'authority'));
  const jobId = `vmm_${randomUUID()}`;
  const [vmUuid, sourceUuid, destinationUuid] = [randomUUID(), randomUUID(), randomUUID()];
  const sourceFlat = join(folder, 'source-flat.vmdk');
  await makeDisk(sourceFlat, disk);
  const host = await hostProcess(join(folder, 'host'), { address: `${net}.1.11`, port: 32873 });
  const hostSecret = authority.enrolSecretFor('host', 'host-1', 1);
  await host.setOptions({ 'Landfall.EnrolSecret': hostSecret });
  const receiver = await receiverProcess(
    join(folder, 'receiver'),
    { address: `${net}.5.1`, port: 32875 },
    {
      installationId: authority.installationId,
      agentId: 'receiver-1',
      vmMigrationId: jobId,
      authorityPem: authority.certificatePem,
      enrolSecret: authority.enrolSecretFor('receiver', jobId, 1),
    },
  );
  await receiver.addDisk(destinationUuid, disk.capacityBytes);
  await Promise.all([host.start(), receiver.start()]);
  const enrolled = await enrolAgent({ authority, endpoint: host.endpoint, role: 'host', secret: hostSecret });
  await enrolAgent({
    authority,
    endpoint: receiver.endpoint,
    role: 'receiver',
    id: jobId,
    secret: authority.enrolSecretFor('receiver', jobId, 1),
  });
  const control = openControlClient({ authority, endpoint: host.endpoint, spiffeId: enrolled.spiffeId });
  const receiverId = spiffeIdOf(authority.installationId, { role: 'receiver', id: jobId });
  const toReceiver = openControlClient({ authority, endpoint: receiver.endpoint, spiffeId: receiverId });
  const pairs = [{ sourceUuid, destinationUuid, capacityBytes: String(disk.capacityBytes) }];
  await toReceiver.prepareDisks(1, pairs);
  const socketPath = join(folder, 'host', 'hypervisor.sock');
  const hypervisor = (path: string, body: unknown): Promise<unknown> => post(socketPath, path, body);
  const attached = (await hypervisor('/v1/attach', {
    vmUuid,
    diskUuid: sourceUuid,
    path: sourceFlat,
    capacityBytes: String(disk.capacityBytes),
  })) as { nbdSocket: string };
  return {
    host,
    receiver,
    control,
    jobId,
    sourceFlat,
    destinationFlat: join(folder, 'receiver', `${destinationUuid}-flat.vmdk`),
    async ensureJob(dials = {}) {
      const status = await control.ensureJob(jobId, {
        kind: 'replicate',
        vmUuid,
        generation: 1,
        vmMigrationId: jobId,
        receiver: { address: receiver.endpoint.address, port: receiver.endpoint.port, spiffeId: receiverId },
        disks: pairs,
        dials: {
          replicationRate: 50,
          writeThrottling: 0,
          bytesPerSecondMax: null,
          addedWriteLatencyMsMax: null,
          ...dials,
        },
      });
      if (status.state !== 'awaiting-certificate' || !status.csrPem) return status;
      const { certificatePem } = await authority.signRequest(status.csrPem, { role: 'source', id: jobId });
      return control.putCertificate(jobId, { generation: 1, certificatePem, authorityPem: authority.certificatePem });
    },
    follow: (what, reached, timeoutMs = 60_000) =>
      waitFor(
        what,
        async () => {
          const status = await control.getJob(jobId).catch(() => undefined);
          return status !== undefined && reached(status) ? status : undefined;
        },
        { timeoutMs, intervalMs: 50 },
      ),
    async guestIo(commands) {
      // As a guest's hypervisor does, it waits for a tap that is just being started again.
      const tap = `driver=nbd,server.type=unix,server.path=${attached.nbdSocket},open-timeout=15,reconnect-delay=15`;
      await run('qemu-io', [...commands.flatMap((command) => ['-c', command]), '--image-opts', tap], {
        maxBuffer: 16 * 1024 * 1024,
      });
    },
    async closeVm() {
      await hypervisor('/v1/closed', { vmUuid });
    },
    async writtenBytes() {
      return Number((await toReceiver.getReceiver()).disks[0]?.writtenBytes ?? Number.NaN);
    },
    sourceProcessIds: () => processIds(`replicator\0vm-source\0`, vmUuid),
    async close() {
      await control.close();
      await toReceiver.close();
      await host.kill();
      await receiver.kill();
      for (const pid of await processIds('', vmUuid)) process.kill(pid, 'SIGKILL');
    },
  };
}

async function makeDisk(path: string, disk: { readonly capacityBytes: number; readonly dataBytes: number }) {
  await writeFile(path, '');
  await truncate(path, disk.capacityBytes);
  const file = await open(path, 'r+');
  const random = await open('/dev/urandom', 'r');
  const chunk = Buffer.allocUnsafe(1024 * 1024);
  for (let offset = 0; offset < disk.dataBytes; offset += chunk.length) {
    await random.read(chunk, 0, chunk.length);
    await file.write(chunk, 0, Math.min(chunk.length, disk.dataBytes - offset), offset);
  }
  await random.close();
  await file.close();
}

/** Processes of this machine whose command line names the VM: the replicator's own children. */
async function processIds(starts: string, vmUuid: string): Promise<number[]> {
  const listed = await run('pgrep', ['-f', vmUuid]).catch(() => ({ stdout: '' }));
  const found: number[] = [];
  for (const pid of listed.stdout.trim().split('\n').map(Number)) {
    const line = await readFile(`/proc/${String(pid)}/cmdline`, 'utf8').catch(() => '');
    if (line.includes('replicator') && line.includes(starts)) found.push(pid);
  }
  return found;
}

function post(socketPath: string, path: string, body: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const call = request(
      { socketPath, path, method: 'POST', headers: { 'content-type': 'application/json' } },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => (text += chunk));
        response.on('end', () => {
          if ((response.statusCode ?? 500) >= 300) reject(new Error(`${path}: ${String(response.statusCode)} ${text}`));
          else resolve(text === '' ? null : JSON.parse(text));
        });
      },
    );
    call.on('error', reject);
    call.end(JSON.stringify(body));
  });
}
