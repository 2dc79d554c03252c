// A receipt's content for tests, with what a test wants to be different.
import type { ReceiptContent, ReceiptDisk } from '../../dataplane/client/index.ts';

const uuid = (at: number): string => `6000c29b-1f2e-4d3c-8b7a-00000000000${at}`;
const program = { version: '0.1.0', sha256: null };

export const receiptDisk: ReceiptDisk = {
  sourceUuid: uuid(5),
  destinationUuid: uuid(6),
  capacityBytes: '2147483648',
  sourceRoot: 'ab'.repeat(32),
  destinationRoot: 'ab'.repeat(32),
  verified: 'transfer',
  verifiedAt: '2026-11-21T12:00:00.000Z',
  movedBytes: { network: '1073741824', device: '0', deduplicated: '0' },
};

/** Names with everything that JSON escapes or leaves alone, because that is where two writers of canonical JSON may differ. */
export const receiptContent: ReceiptContent = {
  receiptId: 'rcp_1',
  installationId: uuid(9),
  migrationId: 'mig_1',
  vmMigrationId: 'vmm_1',
  source: {
    vCenterInstanceUuid: uuid(1),
    vCenterName: 'Süd \u2028 \ud83d\ude00',
    vmName: 'app/01 <&>',
    vmInstanceUuid: uuid(2),
  },
  destination: {
    vCenterInstanceUuid: uuid(3),
    vCenterName: 'new "dc"\\\n\t\u0001\u007f',
    vmName: 'app-01',
    vmInstanceUuid: uuid(4),
  },
  disks: [receiptDisk],
  handOverToken: '1',
  startedAt: '2026-11-21T11:00:00.000Z',
  readyAt: '2026-11-21T11:30:00.000Z',
  frozenAt: '2026-11-21T12:00:00.000Z',
  handedOverAt: '2026-11-21T12:00:00.321Z',
  dataPathMs: 321,
  approvedBy: 'tok_1',
  programs: { managementServer: program, sourceReplicator: program, destinationReplicator: program },
};
