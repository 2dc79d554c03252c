// What users get wrong and what sites refuse: each is a clear problem with a code and a remedy, and leaves nothing behind.
// One world for all of them; the last tests look for secrets and leaks in everything that was written meanwhile.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LeakReport, Migration, VmMigration } from '../../contracts/rest.ts';
import { RefusedError } from '../../demo/harness/installation.ts';
import {
  findVmPlaces,
  followVmMigration,
  listVms,
  showMigration,
  showVmMigration,
  startMigration,
} from '../../demo/harness/operations.ts';
import { writerVm } from '../../demo/harness/scenario.ts';
import { waitFor } from '../../demo/harness/wait.ts';
import { openWorld, type World } from '../helpers/world.ts';

const BUSY = 'busy';
/** Added to a queue that runs. */
const LATE = 'late';
const SLOW_BYTES_PER_SECOND = '1000000';
let world: World;

beforeAll(async () => {
  world = await openWorld({
    wan: { bytesPerSecondMax: 25_000_000, rttMs: 20 },
    vms: [
      writerVm({ name: BUSY, capacityMib: 256, seedMib: 96, writerPauseMs: 20 }),
      writerVm({ name: LATE, capacityMib: 64, seedMib: 8, writerPauseMs: 100 }),
      {
        ...writerVm({ name: 'snapped', capacityMib: 64, seedMib: 0, writerPauseMs: 100, powerOn: false }),
        snapshot: true,
      },
      { ...writerVm({ name: 'raw', capacityMib: 64, seedMib: 0, writerPauseMs: 100, powerOn: false }), rdm: true },
      {
        ...writerVm({ name: 'shared', capacityMib: 64, seedMib: 0, writerPauseMs: 100, powerOn: false }),
        sharedDisk: true,
      },
    ],
  });
}, 300_000);

afterAll(async () => {
  await world?.close();
});

/** Runs a call that has to be refused and returns the problem that was given. */
async function refusal(call: () => Promise<unknown>) {
  try {
    await call();
  } catch (error) {
    if (error instanceof RefusedError) {
      expect(error.problem.remedy.length).toBeGreaterThan(10);
      expect(error.problem.detail.length).toBeGreaterThan(10);
      return error.problem;
    }
    throw error;
  }
  throw new Error('The call was not refused');
}

describe('S1 registering a site', () => {
  const register = (change: Partial<{ password: string; address: string; thumbprintSha256: string }>) =>
    refusal(() =>
      world.installation.call('POST', '/sites', {
        name: 'another',
        address: world.lab.source.address,
        user: world.lab.source.user,
        password: world.lab.source.password,
        thumbprintSha256: world.lab.source.thumbprintSha256,
        ...change,
      }),
    );

  test('a wrong password is refused', async () => {
    const problem = await register({ password: 'not-the-password' });
    expect(problem.code).toBe('VSPHERE_LOGIN_FAILED');
    expect(JSON.stringify(problem)).not.toContain('not-the-password');
  });

  test('a wrong thumbprint is refused', async () => {
    const problem = await register({ thumbprintSha256: Array.from({ length: 32 }, () => 'AB').join(':') });
    expect(problem.code).toBe('VSPHERE_CERTIFICATE_MISMATCH');
  });

  test('an address where nobody listens is refused', async () => {
    const problem = await register({ address: `${world.lab.net}.1.250:8443` });
    expect(problem.code).toBe('VSPHERE_UNREACHABLE');
  });

  test('the same vCenter twice is refused', async () => {
    const problem = await register({});
    expect(problem.code).toBe('SITE_EXISTS');
  });
});

describe('L eligibility', () => {
  test('L1 L3 L6 VMs that cannot move say why before anything starts', async () => {
    const vms = await listVms(world.installation, world.sites.source.id);
    const byName = new Map(vms.map((vm) => [vm.name, vm]));
    expect(byName.get(BUSY)?.eligible).toBe(true);
    for (const [name, code] of [
      ['snapped', 'L1_SNAPSHOT'],
      ['raw', 'L3_RDM'],
      ['shared', 'L6_SHARED'],
    ] as const) {
      expect(byName.get(name)?.eligible, name).toBe(false);
      const findings = byName.get(name)?.findings ?? [];
      expect(
        findings.map((finding) => finding.code),
        name,
      ).toContain(code);
    }
  });

  test('L1 starting a VM with a snapshot is refused', async () => {
    const problem = await refusal(() =>
      startMigration(world.installation, world.sites, { vmNames: ['snapped'], autoFinal: false }),
    );
    expect(problem.code).toBe('VM_NOT_ELIGIBLE');
    expect(problem.detail + JSON.stringify(problem.errors ?? [])).toMatch(/snapshot/i);
  });
});

describe('starting a migration', () => {
  const request = async (change: (body: Record<string, unknown>) => void) => {
    const vms = await listVms(world.installation, world.sites.source.id);
    const body: Record<string, unknown> = {
      kind: 'independent',
      vms: [{ siteId: world.sites.source.id, moref: vms.find((vm) => vm.name === BUSY)?.moref }],
      destination: {
        siteId: world.sites.destination.id,
        clusterMoref: world.sites.destinationInventory.clusters[0]?.moref,
        datastoreMoref: world.sites.destinationInventory.datastores[0]?.moref,
      },
    };
    change(body);
    return refusal(() => world.installation.call('POST', '/migrations', body));
  };

  test('an unknown destination network is refused by name', async () => {
    const problem = await request((body) => {
      Object.assign(body['destination'] as object, {
        networks: [{ source: 'VM Network', destination: 'No such net' }],
      });
    });
    expect(problem.code).toBe('NETWORK_UNKNOWN');
    expect(problem.detail + JSON.stringify(problem.errors ?? [])).toContain('No such net');
  });

  test('an unknown destination datastore is refused', async () => {
    const problem = await request((body) => {
      Object.assign(body['destination'] as object, { datastoreMoref: 'datastore-4711' });
    });
    expect(problem.code).toBe('DATASTORE_UNKNOWN');
  });

  test('a full destination datastore is refused', async () => {
    const datastore = world.sites.destinationInventory.datastores[0]?.name ?? '';
    await world.lab.control.setDatastoreFreeBytes('destination', datastore, 10 * 1024 * 1024);
    const problem = await request(() => undefined);
    await world.lab.control.setDatastoreFreeBytes('destination', datastore, null);
    expect(problem.code).toBe('DATASTORE_FULL');
  });

  test('a body with unknown fields is refused with pointers', async () => {
    const problem = await request((body) => {
      body['autofinal'] = true;
    });
    expect(problem.status).toBe(400);
    expect(problem.errors?.length).toBeGreaterThan(0);
  });
});

describe('a migration under way', () => {
  let underWay: VmMigration;

  test('P2 it starts and reports progress under a low limit', async () => {
    const migration: Migration = await startMigration(world.installation, world.sites, {
      vmNames: [BUSY],
      autoFinal: false,
      settings: { bytesPerSecondMax: SLOW_BYTES_PER_SECOND },
    });
    const id = migration.vmMigrations[0]?.id ?? '';
    underWay = await followVmMigration(world.installation, id, {
      reached: (now) => Number(now.progress?.copiedBytes ?? '0') > 1024 * 1024,
      timeoutMs: 120_000,
    });
    expect(underWay.settings.desired.bytesPerSecondMax).toBe(SLOW_BYTES_PER_SECOND);
  });

  test('a second migration of the same VM is refused', async () => {
    const problem = await refusal(() =>
      startMigration(world.installation, world.sites, { vmNames: [BUSY], autoFinal: false }),
    );
    expect(problem.code).toBe('VM_ALREADY_MIGRATING');
  });

  test('M6 final migration before it is ready is refused', async () => {
    const problem = await refusal(() =>
      world.installation.call('POST', `/vm-migrations/${underWay.id}/actions/final-migration`, {}),
    );
    expect(problem.status).toBe(409);
    expect(problem.code).toBe('FINAL_NOT_READY');
  });

  test('S2 removing a site that is in use is refused', async () => {
    const problem = await refusal(() => world.installation.call('DELETE', `/sites/${world.sites.source.id}`));
    expect(problem.code).toBe('SITE_IN_USE');
  });

  test('M6 terminating it leaves nothing at either site, and the guest goes on', async () => {
    await world.installation.call('POST', `/vm-migrations/${underWay.id}/actions/terminate`, {});
    await waitFor(
      'the migration to end',
      async () => ((await showVmMigration(world.installation, underWay.id)).status === 'Terminated' ? true : undefined),
      { timeoutMs: 120_000 },
    );
    const leaks = await world.installation.call<LeakReport>('GET', '/leaks');
    expect(leaks.items).toEqual([]);
    const before = (await world.lab.control.vm('source', BUSY)).acknowledged;
    await waitFor(
      'the guest to write on',
      async () => ((await world.lab.control.vm('source', BUSY)).acknowledged > before + 10 ? true : undefined),
      { timeoutMs: 30_000 },
    );
  });
});

describe('M5 afterwards', () => {
  let queue: Migration;
  const powerAtBothEnds = async (name: string): Promise<string[]> => [
    (await world.lab.control.vm('source', name)).powerState,
    (await world.lab.control.vm('destination', name)).powerState,
  ];

  test('M5 a manual final ends off at both ends, with a receipt', async () => {
    queue = await startMigration(world.installation, world.sites, { vmNames: [BUSY], autoFinal: false });
    const vms = await findVmPlaces(world.installation, world.sites, [LATE]);
    const grown = await world.installation.call<Migration>('POST', `/migrations/${queue.id}/members`, { vms });
    expect(grown.vmMigrations[1]).toMatchObject({ status: 'Queued', waitingFor: 'its turn in the queue' });
    const id = queue.vmMigrations[0]?.id ?? '';
    await followVmMigration(world.installation, id, {
      reached: (now) => now.status === 'Ready To Migrate',
      timeoutMs: 180_000,
    });
    await world.installation.call('POST', `/vm-migrations/${id}/actions/final-migration`, {});
    await followVmMigration(world.installation, id, {
      reached: (now) => now.status === 'Completed',
      timeoutMs: 180_000,
    });
    expect(await powerAtBothEnds(BUSY)).toEqual(['poweredOff', 'poweredOff']);
    expect(await world.installation.call<object>('GET', `/vm-migrations/${id}/receipt`)).toHaveProperty('signature');
  });

  test('M6 the next in the queue stands still while its site is paused', async () => {
    const site = `/sites/${world.sites.source.id}`;
    const late = (await showMigration(world.installation, queue.id)).vmMigrations[1]?.id ?? '';
    await world.installation.call('POST', `${site}/actions/pause`, {});
    const held = await followVmMigration(world.installation, late, {
      reached: ({ waitingFor }) => waitingFor?.endsWith('to be resumed') === true,
      timeoutMs: 60_000,
    });
    expect(held.waitingFor).toBe(`the site ${world.sites.source.name} to be resumed`);
    await world.installation.call('POST', `${site}/actions/resume`, {});
    await followVmMigration(world.installation, late, {
      reached: ({ status }) => status === 'Ready To Migrate',
      timeoutMs: 180_000,
    });
  });

  test('M5 with auto final, decided while it runs, it ends off at the source and on at the destination', async () => {
    await world.installation.call('PATCH', `/migrations/${queue.id}`, {
      final: { mode: 'auto' },
      objectives: { downtimeSecondsMax: 600 },
    });
    const late = (await showMigration(world.installation, queue.id)).vmMigrations[1]?.id ?? '';
    await followVmMigration(world.installation, late, {
      reached: ({ status }) => status === 'Completed',
      timeoutMs: 180_000,
    });
    expect(await powerAtBothEnds(LATE)).toEqual(['poweredOff', 'poweredOn']);
    const ended = await showMigration(world.installation, queue.id);
    expect(ended).toMatchObject({ status: 'Completed', counts: { total: 2, completed: 2 } });
  });

  test('the passwords stand nowhere in clear: logs, histories, database', async () => {
    const run = promisify(execFile);
    for (const password of [world.lab.source.password, world.lab.destination.password]) {
      const found = await run('grep', ['-rlaF', '--', password, world.installation.home]).catch(
        (error: { code?: number; stdout?: string }) => ({
          stdout: error.code === 1 ? '' : `grep failed ${String(error.code)}`,
        }),
      );
      expect(found.stdout).toBe('');
    }
  });

  test('nothing of ours is left at either site', async () => {
    const leaks = await world.installation.call<LeakReport>('GET', '/leaks');
    expect(leaks.items).toEqual([]);
  });
});
