/** Activities that speak to replicators. Bytes never pass through here: the data plane moves them. */
import type { ReplicationActivities } from '../../contracts/activities.ts';
import type { Services } from '../services.ts';
import { changeDials, stopReplication } from './commands.ts';
import { enrolShadowVm, forgetShadowVm } from './enrol-shadow-vm.ts';
import { freezeReplication, handOver, settleOwner, unfreezeReplication } from './hand-over.ts';
import { writeReceipt } from './receipt.ts';
import { superviseReplication } from './supervise.ts';

export function replicationActivities(services: Services): ReplicationActivities {
  return {
    enrolShadowVm: ({ vmMigrationId }) => enrolShadowVm(services, vmMigrationId),
    forgetShadowVm: ({ vmMigrationId }) => forgetShadowVm(services, vmMigrationId),
    superviseReplication: (input) => superviseReplication(services, input),
    stopReplication: ({ vmMigrationId }) => stopReplication(services, vmMigrationId),
    changeDials: ({ vmMigrationId, dials }) => changeDials(services, vmMigrationId, dials),
    freezeReplication: ({ vmMigrationId, token }) => freezeReplication(services, vmMigrationId, token),
    unfreezeReplication: ({ vmMigrationId, token }) => unfreezeReplication(services, vmMigrationId, token),
    handOver: ({ vmMigrationId, token }) => handOver(services, vmMigrationId, token),
    settleOwner: ({ vmMigrationId }) => settleOwner(services, vmMigrationId),
    writeReceipt: ({ vmMigrationId }) => writeReceipt(services, vmMigrationId),
  };
}
