// Names for the types of the replicator's control API. They come from dataplane/openapi.json, which comes from the Rust
// types: after a change there run `npm run openapi`. Nothing is written by hand here.
import type { components, operations } from './control-api.generated.ts';

type Schemas = components['schemas'];

export type AgentStatus = Schemas['AgentStatus'];
export type AgentCode = Schemas['Code'];
export type AgentProblem = Schemas['Problem'];
export type AttachedVm = Schemas['AttachedVm'];
export type DiskPair = Schemas['DiskPair'];
export type EnrolBegun = Schemas['EnrolBegun'];
export type JobCertificate = Schemas['JobCertificate'];
export type JobSpec = Schemas['JobSpec'];
export type JobState = Schemas['JobState'];
export type JobStatus = Schemas['JobStatus'];
export type JobDisk = Schemas['JobDisk'];
export type AgentDials = Schemas['Dials'];
export type Handover = Schemas['Handover'];
export type HandoverState = Schemas['HandoverState'];
export type ReceiverStatus = Schemas['ReceiverStatus'];
export type ReceiverDisk = Schemas['ReceiverDisk'];

export type Operation = keyof operations;
type JsonOf<T> = T extends { content: { 'application/json': infer Json } } ? Json : undefined;
export type BodyOf<O extends Operation> = operations[O] extends { requestBody: infer Body } ? JsonOf<Body> : undefined;
export type AnswerOf<O extends Operation> = operations[O] extends { responses: { 200: infer Answer } }
  ? JsonOf<Answer>
  : undefined;
