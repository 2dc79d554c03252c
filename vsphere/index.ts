/**
 * The vSphere client: the only way into this folder. It speaks the SOAP API of vCenter 6.5 to 9.x with types made
 * from its description, trusts a pinned certificate only, and gives faults as members of our error family.
 * It knows nothing of workflows, databases or what Landfall does with a machine.
 *
 * Start at session.ts (`connect`), then the helpers per concern. Values of 64 bits are bigint: turn them into
 * decimal strings before they leave a process.
 */
export type { Caller, CallOptions } from './call.ts';
export * from './datastore-files.ts';
export { downloadFile, readFile, uploadFile, type UploadOptions } from './datastore-transfer.ts';
export * from './disks.ts';
export { probe, type ProbeResult } from './endpoint.ts';
export { isFault, VsphereFault } from './faults.ts';
export * from './host.ts';
export * from './inventory.ts';
export * from './io-filter.ts';
export * from './paths.ts';
export * from './policies.ts';
export * from './properties.ts';
export type { AnyValue, MoRef, Typed } from './schema.ts';
export { connect, type VcenterLogin, type VsphereSession } from './session.ts';
export * from './site.ts';
export { followTask, runTask, type TaskMethod, type TaskOptions } from './tasks.ts';
export { normalThumbprint } from './transport.ts';
export type * from './types.gen.ts';
export * from './virtual-machines.ts';
export * from './vm-devices.ts';
export * from './vm-disks.ts';
export * from './vm-facts.ts';
export type { Watcher, WatchOptions } from './watcher.ts';
