// The lab's two vCenters with a session to each, for tests of the vSphere client alone.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findFreeNet, startLab, type Lab, type LabSite } from '../../demo/harness/lab-process.ts';
import { writerVm } from '../../demo/harness/scenario.ts';
import {
  connect,
  listVms,
  readInventory,
  type ClusterPlace,
  type DatacenterPlace,
  type DatastorePlace,
  type FilePlace,
  type Inventory,
  type NewVm,
  type VcenterLogin,
  type VmFacts,
  type VsphereSession,
} from '../../vsphere/index.ts';

export interface VsphereLab {
  readonly lab: Lab;
  readonly source: VsphereSession;
  /** Across the WAN. */
  readonly destination: VsphereSession;
  close(): Promise<void>;
}

/** Starts a lab with one powered-off VM, `app-01` at the source, of 64 MiB. */
export async function openVsphereLab(): Promise<VsphereLab> {
  const folder = await mkdtemp(join(tmpdir(), 'landfall-vsphere-'));
  const vm = writerVm({ name: 'app-01', capacityMib: 64, seedMib: 1, writerPauseMs: 50, powerOn: false });
  const scenario = { wan: { bytesPerSecondMax: 0, rttMs: 5 }, vms: [vm] };
  const lab = await startLab({ home: folder, net: await findFreeNet(40, 49), scenario });
  const [source, destination] = await Promise.all([connect(loginOf(lab.source)), connect(loginOf(lab.destination))]);
  const close = async (): Promise<void> => {
    await Promise.all([source.close(), destination.close()]);
    await lab.stop();
    await rm(folder, { recursive: true, force: true });
  };
  return { lab, source, destination, close };
}

export function loginOf({ address, user, password, thumbprintSha256 }: LabSite): VcenterLogin {
  return { address, user, password, thumbprintSha256 };
}

/** The one place of each kind that the tests use. */
export interface Place extends FilePlace {
  readonly inventory: Inventory;
  readonly datacenterPlace: DatacenterPlace;
  readonly cluster: ClusterPlace;
  readonly datastore: DatastorePlace;
}

export async function placeOf(session: VsphereSession): Promise<Place> {
  const inventory = await readInventory(session);
  const [datacenterPlace] = inventory.datacenters;
  const [cluster] = inventory.clusters;
  const datastore = inventory.datastores.find(({ name }) => name === 'datastore1');
  if (!datacenterPlace || !cluster || !datastore) throw new Error('the lab lacks a place');
  const { ref: datacenter, inventoryPath: datacenterPath } = datacenterPlace;
  return { inventory, datacenterPlace, cluster, datastore, datacenter, datacenterPath };
}

export async function appVm(source: VsphereSession): Promise<VmFacts> {
  const vm = (await listVms(source)).find(({ name }) => name === 'app-01');
  if (!vm) throw new Error('the lab lacks app-01');
  return vm;
}

/** A bare VM like a shadow VM: one SCSI adapter, no disk. */
export function shadowVm(place: Place, name: string, owner: string): NewVm {
  const controller = {
    _type: 'ParaVirtualSCSIController',
    key: 1000,
    busNumber: 0,
    sharedBus: 'noSharing',
  } as const;
  const config = {
    name,
    guestId: 'otherGuest64',
    numCPUs: 1,
    memoryMB: 64n,
    files: { vmPathName: '[datastore1]' },
    deviceChange: [{ _type: 'VirtualDeviceConfigSpec' as const, operation: 'add' as const, device: controller }],
  };
  return { folder: place.datacenterPlace.vmFolder, pool: place.cluster.resourcePool, config, owner };
}
