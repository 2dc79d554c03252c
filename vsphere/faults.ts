/**
 * vSphere faults as members of our error family, told apart by type and never by text. It must not decide
 * what to do about a fault; callers ask `isFault` and the retry class.
 */
import { MigrationError, type ErrorCode } from '../core/index.ts';
import { isFaultOf } from './schema.ts';
import { withoutSecrets } from './secrets.ts';

/** The detail of a fault as vCenter sent it; `_type` names it. */
export interface FaultDetail {
  readonly _type?: string | undefined;
  readonly [field: string]: unknown;
}

/** A fault that vCenter answered with, or that ended a task. */
export class VsphereFault extends MigrationError {
  /** The fault's type name, for example `FileLocked`. */
  readonly faultType: string;
  /** Really private: its fields hold the server's own words, which no log may write out. */
  readonly #fault: FaultDetail;

  constructor(what: string, fault: FaultDetail, message: string) {
    const faultType = fault._type ?? 'MethodFault';
    const text = withoutSecrets(`${what}: ${describe(faultType, fault, message)}`);
    super(codeOf(faultType), text, { details: { faultType } });
    this.faultType = faultType;
    this.#fault = fault;
  }

  get fault(): FaultDetail {
    return this.#fault;
  }
}

/** Whether `error` is a vSphere fault of one of these types or their descendants. */
export function isFault(error: unknown, ...types: readonly string[]): error is VsphereFault {
  return error instanceof VsphereFault && types.some((type) => isFaultOf(error.faultType, type));
}

/** First match wins, so families come after their members. */
const codesByFault: readonly (readonly [string, ErrorCode])[] = [
  ['InvalidLogin', 'VSPHERE_LOGIN_FAILED'],
  ['NotAuthenticated', 'VSPHERE_LOGIN_FAILED'],
  ['PbmFaultInvalidLogin', 'VSPHERE_LOGIN_FAILED'],
  ['NoPermission', 'VSPHERE_NO_PERMISSION'],
  ['PbmFaultNoPermission', 'VSPHERE_NO_PERMISSION'],
  ['ManagedObjectNotFound', 'VSPHERE_NOT_FOUND'],
  ['FileNotFound', 'VSPHERE_NOT_FOUND'],
  ['NotFound', 'VSPHERE_NOT_FOUND'],
  ['PbmFaultNotFound', 'VSPHERE_NOT_FOUND'],
  ['FileLocked', 'VSPHERE_FILE_LOCKED'],
  ['FileAlreadyExists', 'VSPHERE_FILE_EXISTS'],
  ['NoDiskSpace', 'VSPHERE_NO_SPACE'],
  ['InsufficientStorageSpace', 'VSPHERE_NO_SPACE'],
  ['TaskInProgress', 'VSPHERE_BUSY'],
  ['ConcurrentAccess', 'VSPHERE_BUSY'],
  ['ResourceInUse', 'VSPHERE_BUSY'],
  ['PbmResourceInUse', 'VSPHERE_BUSY'],
  ['Timedout', 'VSPHERE_TIMEOUT'],
  ['RequestCanceled', 'VSPHERE_TIMEOUT'],
  ['HostCommunication', 'VSPHERE_UNREACHABLE'],
  ['InvalidState', 'VSPHERE_INVALID_STATE'],
  ['ToolsUnavailable', 'VSPHERE_INVALID_STATE'],
  ['MethodNotFound', 'VSPHERE_FAULT'],
  ['InvalidVmConfig', 'VSPHERE_INVALID_ARGUMENT'],
  ['InvalidArgument', 'VSPHERE_INVALID_ARGUMENT'],
  ['InvalidRequest', 'VSPHERE_INVALID_ARGUMENT'],
  ['InvalidName', 'VSPHERE_INVALID_ARGUMENT'],
  ['DuplicateName', 'VSPHERE_INVALID_ARGUMENT'],
  ['AlreadyExists', 'VSPHERE_INVALID_ARGUMENT'],
];

/** Some servers put what happened only into the fault's own fields. */
function describe(faultType: string, fault: FaultDetail, message: string): string {
  const reason = fault['reason'];
  const text = message.trim() || faultType;
  return typeof reason === 'string' && reason !== '' && !text.includes(reason) ? `${text} (${reason})` : text;
}

function codeOf(faultType: string): ErrorCode {
  return codesByFault.find(([family]) => isFaultOf(faultType, family))?.[1] ?? 'VSPHERE_FAULT';
}
