// A world whose workers suffer orders, and what is asked of every migration in it: how it is carried on by a person, and
// what has to be true at both sites when it has completed, or was given up.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { LeakReport, VmMigration } from '../../contracts/rest.ts';
import { compareDisks } from '../../demo/harness/compare-disks.ts';
import { RefusedError } from '../../demo/harness/installation.ts';
import { showVmMigration, startMigration } from '../../demo/harness/operations.ts';
import { writerVm, type ScenarioVm } from '../../demo/harness/scenario.ts';
import { waitFor } from '../../demo/harness/wait.ts';
import { StepFaults, clusterOrders, type Order } from './step-faults.ts';
import { StepWorkers } from './step-workers.ts';
import { openWorld, type World } from './world.ts';

const patience = { timeoutMs: 280_000, intervalMs: 200 };
/** The answer while no worker runs. */
const unanswered = 'WORKFLOW_ENGINE_UNAVAILABLE';
/** Many tests look at once, and the API answers 1,200 requests of one client a minute. */
const lookEveryMs = 1_200;
type Action = 'final-migration' | 'retry' | 'terminate';

/** A VM without a guest system, off until its test. */
export function stepVm(name: string): ScenarioVm {
  const vm = writerVm({ name, capacityMib: 16, seedMib: 4, writerPauseMs: 250, powerOn: false });
  return { ...vm, bare: true };
}

export class StepLab {
  readonly world: World;
  readonly faults: StepFaults;
  readonly workers: StepWorkers;

  private constructor(world: World, faults: StepFaults, workers: StepWorkers) {
    this.world = world;
    this.faults = faults;
    this.workers = workers;
  }

  static async open(vms: readonly ScenarioVm[], clusterFaults: readonly Order[], workers: number): Promise<StepLab> {
    const faults = new StepFaults(await mkdtemp(join(tmpdir(), 'landfall-orders-')));
    await faults.order(clusterOrders, clusterFaults);
    const own = new StepWorkers(faults.folder, workers);
    return new StepLab(await openWorld({ wan: { bytesPerSecondMax: 0, rttMs: 1 }, vms }, own), faults, own);
  }

  async close(): Promise<void> {
    await this.world.close();
    await rm(this.faults.folder, { recursive: true, force: true });
  }

  /** Powers the VM on, waits until it writes, and starts its migration with these orders. Returns the migration's id. */
  async start(name: string, orders: readonly Order[], options: { readonly autoFinal?: boolean } = {}): Promise<string> {
    const { lab, installation, sites } = this.world;
    await this.faults.order(name, orders);
    await lab.control.power('source', name, 'on');
    await this.writes(name);
    const autoFinal = options.autoFinal === true;
    if (autoFinal) await lab.control.holdPowerOn('destination', name, true);
    const { vmMigrations } = await startMigration(installation, sites, { vmNames: [name], autoFinal });
    return vmMigrations[0]?.id ?? '';
  }

  async writes(name: string): Promise<void> {
    const before = (await this.world.lab.control.vm('source', name)).acknowledged;
    await waitFor(
      `${name} to write`,
      async () => ((await this.world.lab.control.vm('source', name)).acknowledged > before ? true : undefined),
      patience,
    );
  }

  /** Does what a person would: begins the final when it is ready and, if wanted, retries what failed. */
  async drive(
    id: string,
    reached: (now: VmMigration) => boolean | Promise<boolean>,
    options: { readonly retry?: boolean } = {},
  ): Promise<VmMigration> {
    let seen = '';
    const look = async (): Promise<VmMigration | undefined> => {
      const now = await showVmMigration(this.world.installation, id);
      seen = `${now.status} (${now.reason?.message ?? now.waitingFor ?? 'no reason'})`;
      if (await reached(now)) return now;
      if (now.endedAt !== null) throw new Error(`It ended as ${seen}`);
      if (now.status === 'Ready To Migrate' && now.waitingFor === 'the final migration to be started') {
        await this.act(id, 'final-migration');
      }
      if (now.status === 'Failed' && options.retry === true) await this.act(id, 'retry');
      return undefined;
    };
    return waitFor('the migration to go on', look, { ...patience, intervalMs: lookEveryMs }).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}; it is ${seen}`);
    });
  }

  /** A command that may have become void between the look and the call. */
  private async act(id: string, action: Action): Promise<void> {
    const refused = await this.refusalOf(id, action);
    const passing = ['PHASE_DISALLOWS', 'FINAL_NOT_READY', 'FINAL_UNDER_WAY', unanswered];
    if (refused !== null && !passing.includes(refused)) {
      throw new Error(`${action} was refused: ${refused}`);
    }
  }

  /** The code with which a command is refused, or null. */
  async refusalOf(id: string, action: Action): Promise<string | null> {
    try {
      await this.world.installation.call('POST', `/vm-migrations/${id}/actions/${action}`, {});
      return null;
    } catch (error) {
      if (error instanceof RefusedError) return error.problem.code;
      throw error;
    }
  }

  /** Ends it by a person's wish, and waits for its end. */
  async terminate(id: string): Promise<VmMigration> {
    let refused = await this.refusalOf(id, 'terminate');
    while (refused === unanswered) {
      refused = await this.refusalOf(id, 'terminate');
      // The first was taken after all.
      if (refused === 'PHASE_DISALLOWS') refused = null;
    }
    expect(refused).toBeNull();
    return this.drive(id, (now) => now.endedAt !== null);
  }

  /** Both disks are equal and nobody writes to either; then a held power-on goes on. */
  async expectEqualWhenHeld(name: string): Promise<void> {
    const { control } = this.world.lab;
    await waitFor(
      `the power-on of ${name}`,
      async () => ((await control.powerOnWaits('destination', name)) ? true : undefined),
      patience,
    );
    await this.expectEqual(name);
    await control.holdPowerOn('destination', name, false);
  }

  async expectEqual(name: string): Promise<void> {
    const { control } = this.world.lab;
    const [from, to] = [await control.vm('source', name), await control.vm('destination', name)];
    expect(from.powerState).toBe('poweredOff');
    expect(to.disks).toHaveLength(from.disks.length);
    for (const [index, disk] of from.disks.entries()) {
      expect(await compareDisks(disk.flatPath, to.disks[index]?.flatPath ?? '')).toBeNull();
    }
  }

  /** It has completed, with both sides off or, after its own final, running on at the destination with every record. */
  async expectCompleted(name: string, now: VmMigration, on: 'off' | 'on'): Promise<void> {
    expect(now).toMatchObject({ status: 'Completed', failure: null });
    const { control } = this.world.lab;
    if (on === 'off') {
      await this.expectEqual(name);
      expect((await control.vm('destination', name)).powerState).toBe('poweredOff');
    } else {
      const { acknowledged } = await control.vm('source', name);
      const verified = await waitFor(
        `${name} to verify its records`,
        async () => (await control.vm('destination', name)).verified ?? undefined,
        patience,
      );
      expect(verified).toBeGreaterThanOrEqual(acknowledged);
      await control.power('destination', name, 'off');
    }
    await this.world.installation.call('GET', `/vm-migrations/${now.id}/receipt`);
    await this.expectNothingLeft(name, now.id);
  }

  /** The source runs on as before, and nothing at the destination remembers it. */
  async expectGivenBack(name: string, now: VmMigration): Promise<void> {
    expect(now.status).toBe('Terminated');
    const { control } = this.world.lab;
    await this.writes(name);
    expect((await control.vm('source', name)).powerState).toBe('poweredOn');
    const { destination } = await control.leaks();
    expect(destination.vms.filter((vm) => vm.name === name)).toEqual([]);
    expect(destination.datastoreFiles.filter((file) => file.includes(`] ${name}/`))).toEqual([]);
    await this.expectNothingLeft(name, now.id);
    await control.power('source', name, 'off');
  }

  private async expectNothingLeft(name: string, id: string): Promise<void> {
    const suffix = id.slice(-12);
    const { source, destination } = await this.world.lab.control.leaks();
    expect(source.attachedFilters.filter((filter) => filter.name === name)).toEqual([]);
    expect(source.datastoreFiles.filter((file) => file.includes(`] ${name}/`) && file.includes('.landfall'))).toEqual(
      [],
    );
    expect(destination.vms.filter((vm) => vm.name.endsWith(suffix))).toEqual([]);
    expect(destination.datastoreFiles.filter((file) => file.includes(suffix))).toEqual([]);
    const { items } = await this.world.installation.call<LeakReport>('GET', '/leaks');
    expect(items.filter((item) => item.vmMigrationId === id || item.name.includes(suffix))).toEqual([]);
  }
}
