/**
 * The management server's side of the data plane: the installation's authority, enrolment of agents, the client of their
 * control API, the configuration ISO of shadow VMs, and receipts. The only way into this folder.
 *
 * It must not know vSphere, Temporal or the database, and keeps no records: callers remember what they are given.
 * Start reading at `authority.ts` (who signs), then `enrol.ts` (how trust begins), then `control-client.ts`.
 */
export { hasAgentCode } from './agent-errors.ts';
export { needsRenewal, openAuthority, readServerCertificate } from './authority.ts';
export type { Authority, IssuedCertificate, TlsIdentity } from './authority.ts';
export { buildConfigurationIso, writeConfigurationIso } from './configuration-iso.ts';
export type { ReceiverConfiguration } from './configuration-iso.ts';
export { openControlClient } from './control-client.ts';
export type { CallOptions, ControlClient, ControlClientOptions } from './control-client.ts';
export type {
  AgentCode,
  AgentDials,
  AgentStatus,
  AttachedVm,
  DiskPair,
  Handover,
  HandoverState,
  JobCertificate,
  JobDisk,
  JobSpec,
  JobState,
  JobStatus,
  ReceiverDisk,
  ReceiverStatus,
} from './control-types.ts';
export type { AgentEndpoint } from './endpoint.ts';
export { enrolAgent, renewAgent } from './enrol.ts';
export type { EnrolOptions, Enrolment, RenewOptions } from './enrol.ts';
export { serverSpiffeIdOf, spiffeIdOf } from './identity.ts';
export type { AgentIdentity, AgentRole } from './identity.ts';
export { receiptFormat, verifyReceipt } from './receipt.ts';
export type { Receipt, ReceiptContent, ReceiptDisk, ReceiptProgram, ReceiptSide, ReceiptSigner } from './receipt.ts';
