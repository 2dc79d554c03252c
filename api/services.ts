// What the handlers work with, as one object that the composition root fills. Interfaces of ours only where a test
// puts something else in the place of a whole peer: the vCenters and the workflow engine.
import type { Logger } from 'pino';
import type { Database, Presence, SealingKey } from '../db/index.ts';
import type { EventHub } from './events/event-hub.ts';
import type { SiteConnector } from './sites/site-connector.ts';
import type { WorkflowGateway } from './migrations/workflow-gateway.ts';

/** What may be known of the installation's authority. */
export interface InstallationIdentity {
  readonly installationId: string;
  readonly authorityPem: string;
  readonly receiptFingerprint: string;
}

/** What may be known of a key that workflow payloads are encrypted with. */
export interface PayloadKeyFacts {
  readonly id: string;
  readonly createdAt: string | null;
}

/** Newest first. `rotate` is called by one request at a time. */
export interface PayloadKeyStore {
  list(): Promise<readonly PayloadKeyFacts[]>;
  rotate(): Promise<PayloadKeyFacts>;
}

export interface Services {
  readonly database: Database;
  readonly sealingKey: SealingKey;
  /** That this process lives, for the claims of requests under way. */
  readonly presence: Presence;
  readonly sites: SiteConnector;
  readonly workflows: WorkflowGateway;
  readonly payloadKeys: PayloadKeyStore;
  readonly events: EventHub;
  /** Key of the digests that are kept of requests; a plain hash of a body with a password could be guessed. */
  readonly requestDigestKey: Uint8Array;
  readonly hostPackageFile: string;
  /** Where `landfall up` says how its parts are; absent when the processes were started otherwise. */
  readonly partsFile: string;
  readonly identity: InstallationIdentity;
  readonly version: string;
  readonly log: Logger;
  readonly now: () => Date;
}
