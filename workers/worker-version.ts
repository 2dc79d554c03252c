/**
 * Pinned workers: a run of a workflow stays with the version of the program that began it. When it begins with an empty history it
 * asks for the current version; Temporal 1.29 leaves it with its old one. For installations with several workers; docs/upgrade.md
 * says how an upgrade goes. It must not start or stop a worker.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { WorkflowService } from '@temporalio/client';
import type { WorkerDeploymentOptions } from '@temporalio/worker';
import { MigrationError } from '../core/index.ts';

export const deploymentName = 'landfall';
const namespace = 'default';
/** A version is known to the engine once its first worker has asked for work. */
const knownWithinMs = 60_000;
const askEveryMs = 250;
/** gRPC's NOT_FOUND and FAILED_PRECONDITION: the engine does not know the version yet. */
const notYetCodes = [5, 9];

/** Tells versions of the program apart by the workflows that they run. */
export function buildIdOf(productVersion: string, workflowBundleFile: string): string {
  const digest = createHash('sha256').update(readFileSync(workflowBundleFile)).digest('hex');
  return `${productVersion}-${digest.slice(0, 10)}`;
}

export function pinnedTo(buildId: string): WorkerDeploymentOptions {
  return { version: { deploymentName, buildId }, useWorkerVersioning: true, defaultVersioningBehavior: 'PINNED' };
}

/** The version that new runs begin with; null when workers are not pinned. */
export async function currentVersion(service: WorkflowService): Promise<string | null> {
  try {
    const { workerDeploymentInfo } = await service.describeWorkerDeployment({ namespace, deploymentName });
    return workerDeploymentInfo?.routingConfig?.currentDeploymentVersion?.buildId ?? null;
  } catch (error) {
    if (notYetCodes.includes(codeOf(error))) return null;
    throw error;
  }
}

/** New workflows begin with this version from now on. May be called again. */
export async function makeCurrent(service: WorkflowService, buildId: string): Promise<void> {
  for (const endsAtMs = Date.now() + knownWithinMs; ; await sleep(askEveryMs)) {
    try {
      await service.setWorkerDeploymentCurrentVersion({ namespace, deploymentName, buildId, identity: 'landfall' });
      return;
    } catch (cause) {
      if (notYetCodes.includes(codeOf(cause)) && Date.now() < endsAtMs) continue;
      throw new MigrationError('SERVICE_START_FAILED', `Version ${buildId} could not be made the current one`, {
        remedy:
          'Look at the deployment "landfall" in the Temporal UI; another version may need its workers for the queue.',
        cause,
      });
    }
  }
}

function codeOf(error: unknown): number {
  return (error as { code?: number }).code ?? -1;
}
