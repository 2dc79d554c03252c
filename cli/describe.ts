// Migrations in plain words: for show, settings and the end of watch. Pure text.
import type { Migration, VmMigration } from '../contracts/rest.ts';
import { formatBytes, formatRate, formatSeconds, formatTime, table } from './format.ts';

export function describeVmMigration(item: VmMigration): string {
  return [
    `${item.vm.name} (${item.id})`,
    `  ${item.status}: ${item.state}${item.waitingFor === null ? '' : `, waits for ${waitText(item)}`}`,
    ...(item.reason === null ? [] : [`  Why: ${item.reason.message}`]),
    ...(item.failure === null ? [] : [`  Failed: ${item.failure.message}`, `  What to do: ${item.failure.remedy}`]),
    ...item.warnings.map((warning) => `  Warning: ${warning.message}`),
    ...progressLines(item),
    ...outlookLines(item),
    ...settingsLines(item),
    ...downtimeLines(item),
    `  Started ${formatTime(item.createdAt)}${item.endedAt === null ? '' : `, ended ${formatTime(item.endedAt)}`}`,
  ].join('\n');
}

/** What is to be expected, and which objectives are at risk. */
function outlookLines({ projection, risks, endedAt }: VmMigration): string[] {
  if (projection === null || endedAt !== null) return [];
  const { p50Seconds, p90Seconds } = projection.ready;
  const likely = p50Seconds === null ? 'cannot be foreseen' : `${formatSeconds(p50Seconds)} as likely as not`;
  const sure = p90Seconds === null ? '' : `, ${formatSeconds(p90Seconds)} nearly surely`;
  const stop = projection.downtimeSeconds;
  return [
    `  Ready in: ${likely}${sure}${stop === null ? '' : `; a stop now would take ${formatSeconds(stop)}`}`,
    ...risks.flatMap(({ message, help }) => [`  At risk: ${message}`, ...help.map((line) => `    ${line}`)]),
  ];
}

export function describeSettings(item: VmMigration): string {
  return settingsLines(item).join('\n');
}

/** The last words about a migration that has ended. */
export function describeEnd(item: VmMigration): string {
  const lines = [`${item.vm.name}: ${item.status}`];
  if (item.failure !== null) lines.push(`  ${item.failure.message}`, `  What to do: ${item.failure.remedy}`);
  lines.push(...downtimeLines(item));
  if (item.status === 'Completed') lines.push(`  The receipt: landfall receipt ${item.id} --output receipt.json`);
  return lines.join('\n');
}

function progressLines({ progress, disks }: VmMigration): string[] {
  if (progress === null) return [];
  const lines = [
    `  Copied ${Math.floor(progress.percent)} %: ${formatBytes(progress.copiedBytes)} of ${formatBytes(progress.allocatedBytes)}, ${formatBytes(progress.remainingBytes)} remain`,
    `  Rates: background ${formatRate(progress.rates.backgroundBytesPerSecond)}, foreground ${formatRate(progress.rates.foregroundBytesPerSecond)}, guest writes ${formatRate(progress.rates.incomingBytesPerSecond)}, wire ${formatRate(progress.rates.wireBytesPerSecond)}`,
    `  Sent ${formatBytes(progress.sentBytes)} (${formatBytes(progress.wireBytes)} on the wire, ${formatBytes(progress.resentBytes)} again, ${formatBytes(progress.skippedBytes)} skipped)`,
  ];
  if (disks.length > 1)
    lines.push(
      ...disks.map(
        (disk) => `  ${disk.label}: ${disk.backgroundState}, ${formatBytes(disk.progress?.remainingBytes)} remain`,
      ),
    );
  lines.push(...progress.readyReasons.map((reason) => `  Not ready: ${reason.message}`));
  return lines;
}

function settingsLines({ settings: { desired, inForce } }: VmMigration): string[] {
  const say = (dials: typeof desired): string =>
    [
      `replication rate ${dials.replicationRate}`,
      `write throttling ${dials.writeThrottling}`,
      `limit ${dials.bytesPerSecondMax === null ? 'none' : formatRate(Number(dials.bytesPerSecondMax))}`,
      `added latency ${dials.addedWriteLatencyMsMax === null ? 'not limited' : `at most ${dials.addedWriteLatencyMsMax} ms`}`,
    ].join(', ');
  const same = inForce !== null && say(desired) === say(inForce);
  return [
    `  Settings: ${say(desired)}${same ? ' (in force)' : ''}`,
    ...(same || inForce === null ? [] : [`  In force: ${say(inForce)}`]),
  ];
}

function downtimeLines({ downtime }: VmMigration): string[] {
  if (downtime === null) return [];
  const total =
    downtime.totalMs === null
      ? []
      : [`  The VM stood still for ${formatSeconds(downtime.totalMs / 1_000)}, guest shut-down and boot included`];
  const path = downtime.dataPathMs === null ? [] : [`  Its data path stood still for ${downtime.dataPathMs} ms`];
  return [...total, ...path];
}

/** What it waits for, with its place in line where there is one. */
function waitText({ waitingFor, place }: Pick<Migration, 'waitingFor' | 'place'>): string {
  if (waitingFor === null) return '-';
  return place === null ? waitingFor : `${waitingFor} (place ${place})`;
}

/** One migration with its members. */
export function describeMigration(item: Migration): string {
  const rows = item.vmMigrations.map((member) => [
    member.vm.name,
    member.status,
    member.state,
    shareText(member),
    waitText(member),
    member.id,
  ]);
  return [
    `${item.id}: ${item.status}, priority ${item.priority}${item.final.mode === 'manual' ? '' : `, ${item.final.mode} final`}${item.paused ? ', paused' : ''}`,
    ...(item.waitingFor === null ? [] : [`Waits for ${waitText(item)}.`]),
    ...(item.reason === null ? [] : [item.reason.message]),
    table(['vm', 'status', 'state', 'copied', 'waits for', 'id'], rows),
  ].join('\n');
}

function shareText({ progress, endedAt, createdAt }: VmMigration): string {
  if (progress === null) return '-';
  const took = endedAt === null ? '' : `, ${formatSeconds((Date.parse(endedAt) - Date.parse(createdAt)) / 1_000)}`;
  return `${Math.floor(progress.percent)} % of ${formatBytes(progress.allocatedBytes)}${took}`;
}
