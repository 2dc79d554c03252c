// The gate of a final migration: objectives that would be missed need an explicit "anyway". Readiness itself is judged by
// the workflow.
import { MigrationError, type Objectives, type Projection } from '../../core/index.ts';
import type { VmMigration } from '../../db/index.ts';

/** Throws OBJECTIVE_NOT_MET that names the VMs whose stop would take too long. */
export function checkObjectives(
  members: readonly VmMigration[],
  { objectives }: { readonly objectives: unknown },
): void {
  const { downtimeSecondsMax } = objectives as Objectives;
  if (downtimeSecondsMax === null) return;
  const late = members.flatMap(({ vmName, projection, endedAt }) => {
    const downtime = (projection as Projection | null)?.downtimeSeconds ?? null;
    return endedAt === null && downtime !== null && downtime > downtimeSecondsMax
      ? [`${vmName} ${Math.ceil(downtime)} s`]
      : [];
  });
  if (late.length === 0) return;
  const message = `At most ${downtimeSecondsMax} s are allowed; projected: ${late.join(', ')}.`;
  throw new MigrationError('OBJECTIVE_NOT_MET', message);
}
