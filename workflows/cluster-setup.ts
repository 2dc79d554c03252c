/**
 * Configures a source cluster: secrets to the hosts, the host package on every host, enrolment of each, the
 * replication policy. Every step may be repeated; starting it again goes on where it failed.
 */
import { isCancellation, proxyActivities, setCurrentDetails } from '@temporalio/workflow';
import type { ClusterActivities } from '../contracts/activities.ts';
import type { ClusterSetupInput, ClusterSetupResult } from '../contracts/workflows.ts';
import type { FailureNote } from '../core/index.ts';
import { noteOf, recordsOptions, stepOptions } from '../temporal/index.ts';

/** People wait for the answer: an unreachable host must not hold it for an hour. */
const steps = proxyActivities<ClusterActivities>({ ...stepOptions, scheduleToCloseTimeout: '10 minutes' });
const records = proxyActivities<ClusterActivities>(recordsOptions);

export async function clusterSetup(input: ClusterSetupInput): Promise<ClusterSetupResult> {
  let failure: FailureNote | null = null;
  try {
    setCurrentDetails('Checking the cluster');
    const hosts = await steps.prepareCluster(input);
    setCurrentDetails('Giving each host its enrolment secret');
    await steps.writeHostOptions(input);
    setCurrentDetails(`Installing the host package on ${hosts.length} hosts`);
    await steps.installHostPackage(input);
    setCurrentDetails('Enrolling the hosts');
    await enrolAll(input, hosts);
    setCurrentDetails('Creating the replication policy');
    await steps.ensureStoragePolicy(input);
  } catch (error) {
    if (isCancellation(error)) throw error;
    failure = noteOf(error);
  }
  await records.finishClusterSetup({ ...input, failure });
  setCurrentDetails(failure === null ? 'Configured' : `${failure.message}. ${failure.remedy}`);
  return { state: failure === null ? 'configured' : 'failed' };
}

/** Each host is tried, whatever becomes of the others: the result per host is in the records. */
async function enrolAll(input: ClusterSetupInput, hosts: readonly string[]): Promise<void> {
  const results = await Promise.allSettled(hosts.map((hostMoref) => steps.enrolHost({ ...input, hostMoref })));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
