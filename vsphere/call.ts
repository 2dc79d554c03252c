/**
 * What helpers need of a session: typed calls and the names of managers. Types only, so that everything may
 * depend on it.
 */
import type { MoRef } from './schema.ts';
import type { Methods, ServiceContent } from './types.gen.ts';

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Longest wait for the answer; not for a task that the call starts. */
  readonly timeoutMs?: number | undefined;
}

export type ManagerName = {
  [K in keyof ServiceContent]-?: NonNullable<ServiceContent[K]> extends MoRef ? K : never;
}[keyof ServiceContent];

export interface Caller {
  readonly address: string;
  readonly content: ServiceContent;
  /**
   * One API call. Logs in again and repeats the call once when the session has expired, and repeats a mere reading
   * once when its connection was dropped; anything else that fails is for the caller to judge by the retry class.
   */
  call<M extends keyof Methods>(
    on: MoRef<Methods[M]['on']>,
    method: M,
    args: Methods[M]['args'],
    options?: CallOptions,
  ): Promise<Methods[M]['result']>;
  /** A manager object; fails with VSPHERE_NOT_VCENTER where the server lacks it. */
  manager<N extends ManagerName>(name: N): NonNullable<ServiceContent[N]>;
}
