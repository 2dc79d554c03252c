// Turns a runbook as it is asked for (VMs by their place) into the one that is kept (members by their ids).
import type { RunbookRequest } from '../../contracts/rest.ts';
import { checkRunbook, type Runbook } from '../../core/index.ts';
import type { VmMigration } from '../../db/index.ts';
import { invalidInput } from '../http/problems.ts';

/** Throws INVALID_INPUT that names every place which cannot be carried out; `at` points to the runbook in the body. */
export function toRunbook(wanted: RunbookRequest, members: readonly VmMigration[], at: string): Runbook {
  const idOf = ({ siteId, moref }: { readonly siteId: string; readonly moref: string }): string =>
    members.find((member) => member.sourceSiteId === siteId && member.vmMoref === moref)?.id ?? `${siteId}/${moref}`;
  const runbook: Runbook = {
    shutDown: wanted.shutDown.map(({ vms, ...step }) => ({ ...step, members: vms.map(idOf) })),
    powerOn: wanted.powerOn.map(({ vms, ...step }) => ({ ...step, members: vms.map(idOf) })),
  };
  const findings = checkRunbook(
    runbook,
    members.map(({ id }) => id),
  );
  if (findings.length > 0) {
    throw invalidInput(
      findings.map(({ pointer, message }) => ({ pointer: `${at}${pointer.replace('/members/', '/vms/')}`, message })),
    );
  }
  return runbook;
}
