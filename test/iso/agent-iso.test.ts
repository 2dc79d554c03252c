// The life of a shadow VM on the real agent ISO: it boots, is enrolled, sees its disks, survives a host failure.
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { hasCode, isRetryable } from '../../core/index.ts';
import { enrolAgent, openAuthority, openControlClient, writeConfigurationIso } from '../../dataplane/client/index.ts';
import type { Authority, ControlClient, DiskPair, Enrolment } from '../../dataplane/client/index.ts';
import { bootShadowVm } from '../helpers/qemu-shadow-vm.ts';
import type { ShadowVm } from '../helpers/qemu-shadow-vm.ts';

const mebibyte = 1024 * 1024;
const endpoint = { address: '127.70.1.1', port: 32875 };
const vmMigrationId = 'vmm_boot';
const disk = (at: number, mebibytes: number): DiskPair => ({
  sourceUuid: `6000c29b-1f2e-4d3c-8b7a-00000000000${at}`,
  destinationUuid: `6000c29b-1f2e-4d3c-8b7a-0000000000f${at}`,
  capacityBytes: String(mebibytes * mebibyte),
});
const [first, second, late] = [disk(1, 64), disk(2, 65), disk(3, 32)];
const bootMs = 120_000;

let folder: string;
let authority: Authority;
let secret: string;
let vm: ShadowVm | undefined;
let client: ControlClient | undefined;
let enrolment: Enrolment;

async function boot(): Promise<void> {
  vm = await bootShadowVm({
    folder,
    agentIso: 'build/agent.iso',
    configurationIso: join(folder, 'configuration.iso'),
    address: endpoint.address,
    disks: [first, second].map(({ destinationUuid, capacityBytes }) => ({
      uuid: destinationUuid,
      capacityBytes: Number(capacityBytes),
    })),
  });
}

/** Tries until it works; the port is open before the guest listens, so early tries fail in many ways. */
async function eventually<T>(what: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + bootMs;
  for (;;) {
    try {
      return await what();
    } catch (error) {
      if (!isRetryable(error) || Date.now() > deadline) {
        throw new Error(`${String(error)}\nconsole of the shadow VM:\n${await vm?.console()}`, { cause: error });
      }
      await sleep(500);
    }
  }
}

const enrol = (): Promise<Enrolment> =>
  eventually(() => enrolAgent({ authority, endpoint, role: 'receiver', id: vmMigrationId, secret, timeoutMs: 5_000 }));

beforeAll(async () => {
  await stat('build/agent.iso').catch(() => {
    throw new Error('build/agent.iso is missing: run tools/setup');
  });
  folder = await mkdtemp(join(tmpdir(), 'landfall-agent-iso-'));
  authority = await openAuthority(join(folder, 'authority'));
  secret = authority.enrolSecretFor('receiver', vmMigrationId, 1);
  const { installationId, certificatePem: authorityPem } = authority;
  const configuration = { installationId, agentId: 'agent-boot', vmMigrationId, authorityPem, enrolSecret: secret };
  await writeConfigurationIso(configuration, join(folder, 'configuration.iso'));
  await boot();
});
afterAll(async () => {
  await client?.close();
  await vm?.powerOff();
  await rm(folder, { recursive: true });
});

it('boots and is enrolled', async () => {
  enrolment = await enrol();
  expect(enrolment).toMatchObject({ outcome: 'enrolled', agentId: 'agent-boot' });
  client = openControlClient({ authority, endpoint, spiffeId: enrolment.spiffeId, requestTimeoutMs: 20_000 });
  expect(await client.getReceiver()).toMatchObject({ vmMigrationId, ownership: { state: 'none' } });
});

it('sees its SCSI disks under their UUIDs, and no others', async () => {
  const prepared = await eventually(() => client!.prepareDisks(1, [first, second]));
  expect(prepared.disks).toEqual(
    expect.arrayContaining([
      expect.objectContaining({
        destinationUuid: first.destinationUuid,
        present: true,
        capacityBytes: first.capacityBytes,
      }),
      expect.objectContaining({
        destinationUuid: second.destinationUuid,
        present: true,
        capacityBytes: second.capacityBytes,
      }),
    ]),
  );
  const failure: unknown = await client!.prepareDisks(2, [first, second, late]).catch((error: unknown) => error);
  expect(hasCode(failure, 'DISK_MISSING')).toBe(true);
  expect(String(failure)).toContain(late.destinationUuid);
});

it('sees a disk that is added while it runs', async () => {
  await vm!.hotAdd(late.destinationUuid, Number(late.capacityBytes));
  const prepared = await eventually(() => client!.prepareDisks(3, [first, second, late]));
  expect(prepared.disks.every(({ present }) => present)).toBe(true);
});

it('knows after a host failure what it knew before', async () => {
  const before = await client!.getReceiver();
  await client!.close();
  await vm!.powerOff();
  await boot();
  const again = await enrol();
  expect(again).toMatchObject({ outcome: 'already-enrolled', spkiSha256: enrolment.spkiSha256 });
  client = openControlClient({ authority, endpoint, spiffeId: enrolment.spiffeId, requestTimeoutMs: 20_000 });
  expect(await client.getReceiver()).toMatchObject({ vmMigrationId, ownership: before.ownership });
  expect(await vm!.console()).toContain('landfall: state on /dev/sd');
});
