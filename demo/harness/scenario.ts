// What a lab contains: links and virtual machines. Data only; `lab up --scenario` reads it as JSON.

/** One disk of a lab VM. The seed is deterministic incompressible data in the disk's ext4 file system. */
export interface ScenarioDisk {
  readonly capacityBytes: string;
  readonly seedBytes: string;
}

/** One lab VM. The flags make it a VM that a migration has to refuse. */
export interface ScenarioVm {
  readonly site: 'source' | 'destination';
  readonly name: string;
  readonly memoryMb: number;
  readonly cpus: number;
  readonly powerOn: boolean;
  readonly network: string;
  readonly datastore: string;
  readonly disks: readonly ScenarioDisk[];
  readonly writerPauseMs: number;
  readonly snapshot?: boolean;
  readonly rdm?: boolean;
  readonly sharedDisk?: boolean;
  /** The lab's own writer instead of a guest in QEMU: costs next to nothing, boots at once. */
  readonly bare?: boolean;
}

/** The link between the sites; 0 bytes per second means unlimited. */
export interface ScenarioWan {
  readonly bytesPerSecondMax: number;
  readonly rttMs: number;
}

/** Everything a lab is made from. */
export interface Scenario {
  readonly wan: ScenarioWan;
  readonly vms: readonly ScenarioVm[];
}

const MIB = 1024 * 1024;

/** A small Linux guest whose writer appends checksummed records with fsync to its first disk. */
export function writerVm(options: {
  readonly name: string;
  readonly capacityMib: number;
  readonly seedMib: number;
  readonly writerPauseMs: number;
  readonly extraDisksMib?: readonly number[];
  readonly powerOn?: boolean;
}): ScenarioVm {
  const disk = (capacityMib: number, seedMib: number): ScenarioDisk => ({
    capacityBytes: String(capacityMib * MIB),
    seedBytes: String(seedMib * MIB),
  });
  return {
    site: 'source',
    name: options.name,
    memoryMb: 128,
    cpus: 1,
    powerOn: options.powerOn ?? true,
    network: 'VM Network',
    datastore: 'datastore1',
    disks: [
      disk(options.capacityMib, options.seedMib),
      ...(options.extraDisksMib ?? []).map((capacityMib) => disk(capacityMib, 0)),
    ],
    writerPauseMs: options.writerPauseMs,
  };
}
