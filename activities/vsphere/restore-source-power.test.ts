// The source's power after a final that was given up, with a scripted vCenter, inside an activity's context.
import { MockActivityEnvironment } from '@temporalio/testing';
import { expect, it } from 'vitest';
import { MigrationError } from '../../core/index.ts';
import type { VsphereSession } from '../../vsphere/index.ts';
import type { Services } from '../services.ts';
import { restoreSourcePower } from './restore-source-power.ts';

interface Script {
  readonly poweredOffAt: Date | null;
  /** What the machine is when it is looked at. */
  readonly power: 'poweredOn' | 'poweredOff';
  /** What the waits end with, one after the other: for the guest, then for the task. */
  readonly waits: readonly (MigrationError | 'ends')[];
}

async function restore({ poweredOffAt, power, waits }: Script): Promise<{ calls: string[]; facts: unknown[] }> {
  const calls: string[] = [];
  const facts: unknown[] = [];
  const left = [...waits];
  const session = {
    manager: (value: string) => ({ type: value, value }),
    call: async (obj: unknown, method: string) => {
      if (method === 'RetrievePropertiesEx') {
        return { objects: [{ obj, propSet: [{ name: 'runtime.powerState', val: power }] }] };
      }
      calls.push(method);
      return { type: 'Task', value: 'task-1' };
    },
    watcher: {
      watch: async () => {
        const next = left.shift();
        if (next instanceof MigrationError) throw next;
        return {};
      },
    },
  } as unknown as VsphereSession;
  const row = {
    stoppedByUs: true,
    poweredOffAt,
    handedOverAt: null,
    sourceSiteId: 'site_a',
    vmMoref: 'vm-1',
    disks: [],
    settings: null,
    destination: null,
    migration: { destination: {}, settings: {}, options: {} },
  };
  const vmMigration = {
    findUnique: async () => row,
    update: async ({ data }: { data: unknown }) => void facts.push(data),
  };
  const services = { session: async () => session, database: { prisma: { vmMigration } } } as unknown as Services;
  const environment = new MockActivityEnvironment();
  try {
    await environment.run(() => restoreSourcePower(services, 'vmm_1'));
  } catch (error) {
    calls.push((error as MigrationError).code);
  }
  return { calls, facts };
}

const late = new MigrationError('VSPHERE_TIMEOUT');
const off = new Date();

it('powers a machine on that was off, and forgets the times of its final', async () => {
  const { calls, facts } = await restore({ poweredOffAt: off, power: 'poweredOff', waits: ['ends'] });
  expect(calls).toEqual(['PowerOnVM_Task']);
  expect(facts).toMatchObject([{ stoppedByUs: false, poweredOffAt: null }]);
});

it('is tried again when the vCenter is slow to power it on: until then it was stopped by us', async () => {
  const { calls, facts } = await restore({ poweredOffAt: off, power: 'poweredOff', waits: [late] });
  expect(calls).toEqual(['PowerOnVM_Task', 'VSPHERE_TIMEOUT']);
  expect(facts).toEqual([]);
});

it('leaves a guest alone that ignored the request to shut down', async () => {
  const { calls, facts } = await restore({ poweredOffAt: null, power: 'poweredOn', waits: [late] });
  expect(calls).toEqual([]);
  expect(facts).toMatchObject([{ stoppedByUs: false }]);
});

it('powers one on that went off just when the wait for it ended', async () => {
  const { calls } = await restore({ poweredOffAt: null, power: 'poweredOff', waits: [late, 'ends'] });
  expect(calls).toEqual(['PowerOnVM_Task']);
});
