import { describe, expect, it } from 'vitest';
import type { Disk } from '../../db/index.ts';
import type { VmDisk } from '../../vsphere/index.ts';
import { changeOf } from './source-watch.ts';

const expected = [
  { label: 'Hard disk 1', deviceKey: 2000, sourceUuid: 'u1', sourcePath: '[a] vm/vm.vmdk', capacityBytes: 10n },
] as unknown as Disk[];
const disk = { key: 2000, uuid: 'u1', path: '[a] vm/vm.vmdk', capacityBytes: 10n, hasParent: false } as VmDisk;
const look = (change: Partial<VmDisk> | null, hasSnapshot = false) =>
  changeOf({ disks: change === null ? [] : [{ ...disk, ...change }], hasSnapshot }, expected);

describe('changeOf', () => {
  it('finds nothing while the disks are as they were, and ignores a disk that was added (V5)', () => {
    expect(look({})).toBeNull();
    expect(changeOf({ disks: [disk, { ...disk, key: 2001, uuid: 'u2' }], hasSnapshot: false }, expected)).toBeNull();
  });

  it.each([
    ['V4 a disk that was removed', null, 'was removed'],
    ['V4 a disk that was replaced', { uuid: 'u9' }, 'was replaced'],
    ['V6 a disk that was resized', { capacityBytes: 20n }, 'was resized'],
    ['V6 a disk that was moved', { path: '[b] vm/vm.vmdk' }, 'was moved'],
  ])('names %s', (_name, change, message) => {
    expect(look(change)).toContain(message);
  });

  it('V2 does not mistake a snapshot for a change', () => {
    expect(look({ path: '[a] vm/vm-000001.vmdk', hasParent: true }, true)).toBeNull();
  });
});
