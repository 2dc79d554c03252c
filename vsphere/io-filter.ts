/**
 * The IO filter on a cluster: installed, looked at per host, removed. It must not know what the package holds.
 */
import { isFault } from './faults.ts';
import type { MoRef } from './schema.ts';
import { withoutSecrets } from './secrets.ts';
import type { VsphereSession } from './session.ts';
import { runTask, type TaskOptions } from './tasks.ts';

export type ClusterRef = MoRef<'ClusterComputeResource'>;

export interface ClusterFilter {
  readonly id: string;
  readonly name: string;
  readonly vendor: string;
  readonly version: string;
  /** The last operation: `install`, `uninstall` or `upgrade`. */
  readonly operation: string;
  readonly packageUrl: string | undefined;
}

export interface FilterIssue {
  readonly host: MoRef<'HostSystem'>;
  readonly faultType: string;
  readonly message: string;
}

/** The filters of a cluster, also those whose installation is under way. */
export async function listFilters(session: VsphereSession, cluster: ClusterRef): Promise<ClusterFilter[]> {
  const infos = await session.call(session.manager('ioFilterManager'), 'QueryIoFilterInfo', { compRes: cluster });
  return (infos ?? []).map((info) => ({
    id: info.id,
    name: info.name,
    vendor: info.vendor,
    version: info.version,
    operation: info.opType,
    packageUrl: info.vibUrl,
  }));
}

/**
 * Installs a package on every host of a cluster. Repeating while it is installed fails with AlreadyExists: callers
 * look at `listFilters` first, or take that fault as success. Hosts fetch the URL themselves and accept only the
 * given certificate (PEM) there; servers before 8.0.3 need one that their own store trusts.
 */
export async function installFilter(
  session: VsphereSession,
  cluster: ClusterRef,
  packageUrl: string,
  certificatePem: string | undefined,
  options?: TaskOptions,
): Promise<void> {
  const trust =
    certificatePem === undefined
      ? undefined
      : ({ _type: 'PinnedCertificate', sslCertificate: certificatePem } as const);
  const args = { vibUrl: packageUrl, compRes: cluster, vibSslTrust: trust };
  try {
    await runTask(session, session.manager('ioFilterManager'), 'InstallIoFilter_Task', args, options);
  } catch (error) {
    if (!isFault(error, 'AlreadyExists')) throw error;
  }
}

/** What went wrong with a filter, per host; empty when all is well or the filter is unknown. */
export async function filterIssues(
  session: VsphereSession,
  cluster: ClusterRef,
  filterId: string,
): Promise<FilterIssue[]> {
  const args = { filterId, compRes: cluster };
  try {
    const result = await session.call(session.manager('ioFilterManager'), 'QueryIoFilterIssues', args);
    return (result.hostIssue ?? []).flatMap(({ host, issue }) =>
      issue.map(({ fault, localizedMessage }) => ({
        host,
        faultType: fault._type ?? '',
        message: withoutSecrets(localizedMessage ?? fault._type ?? ''),
      })),
    );
  } catch (error) {
    if (isFault(error, 'NotFound')) return [];
    throw error;
  }
}

/** Removes a filter; nothing to do when it is gone. Fails with a fault while a disk uses it. */
export async function uninstallFilter(
  session: VsphereSession,
  cluster: ClusterRef,
  filterId: string,
  options?: TaskOptions,
): Promise<void> {
  const args = { filterId, compRes: cluster };
  try {
    await runTask(session, session.manager('ioFilterManager'), 'UninstallIoFilter_Task', args, options);
  } catch (error) {
    if (!isFault(error, 'NotFound')) throw error;
  }
}
