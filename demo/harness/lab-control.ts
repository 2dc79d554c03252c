// Client of the lab's control socket: the link, the guests' consoles, the processes a test may kill.
// Reads and disturbs the lab; never talks to the product.

import { request } from 'node:http';

/** What the lab knows of one of its VMs, read from its console and its vCenter. */
export interface LabVm {
  readonly powerState: string;
  /** Highest record number that the guest has acknowledged on its console; 0 before the first. */
  readonly acknowledged: number;
  /** Records that the guest found whole at its last boot; null before it said so. */
  readonly verified: number | null;
  readonly boots: number;
  readonly disks: readonly {
    readonly uuid: string;
    readonly flatPath: string;
    readonly capacityBytes: string;
  }[];
  readonly consoleTail: readonly string[];
}

/** What one site holds, unjudged; files as `[datastore] path`, folders with a slash at their end. */
export interface LabHoldings {
  readonly vms: readonly { readonly name: string }[];
  readonly datastoreFiles: readonly string[];
  readonly attachedFilters: readonly { readonly name: string }[];
}

/** Payload bytes that have crossed the link, counted by the link itself. */
export interface WanBytes {
  readonly toDestination: number;
  readonly toSource: number;
}

/** A process of the lab that a fault may hit. */
export interface LabProcess {
  readonly role: 'guest' | 'replicator-host' | 'replicator-source' | 'receiver';
  readonly site: string;
  readonly host?: string;
  readonly vm?: string;
  readonly pid: number;
}

/** The lab's control socket. Every call throws with the lab's own words when it is refused. */
export class LabControl {
  private readonly socketPath: string;

  constructor(socketPath: string) {
    this.socketPath = socketPath;
  }

  vm(site: 'source' | 'destination', name: string): Promise<LabVm> {
    return this.call('GET', `/vms/${site}/${encodeURIComponent(name)}`) as Promise<LabVm>;
  }

  power(site: 'source' | 'destination', name: string, state: 'on' | 'off'): Promise<unknown> {
    return this.call('POST', `/vms/${site}/${encodeURIComponent(name)}/power`, { state });
  }

  processes(): Promise<LabProcess[]> {
    return this.call('GET', '/processes') as Promise<LabProcess[]>;
  }

  setWan(wan: { readonly bytesPerSecondMax: number; readonly rttMs: number }): Promise<unknown> {
    return this.call('PUT', '/wan', wan);
  }

  /** Cuts every connection between the sites; null means until `restoreWan`. */
  cutWan(seconds: number | null): Promise<unknown> {
    return this.call('POST', '/wan/cut', { seconds });
  }

  restoreWan(): Promise<unknown> {
    return this.call('POST', '/wan/restore');
  }

  resetWan(): Promise<unknown> {
    return this.call('POST', '/wan/reset');
  }

  /** Bytes that have crossed the link so far, each way. */
  wanBytes(): Promise<WanBytes> {
    return this.call('GET', '/wan/bytes') as Promise<WanBytes>;
  }

  setDatastoreFreeBytes(site: 'source' | 'destination', datastore: string, freeBytes: number | null): Promise<unknown> {
    return this.call('PUT', `/datastores/${site}/${encodeURIComponent(datastore)}`, { freeBytes });
  }

  /**
   * While held, a power-on of this VM waits before its guest starts, so that a test can look at disks that nobody
   * writes. `GET /status` names the power-ons that wait.
   */
  holdPowerOn(site: 'source' | 'destination', name: string, hold: boolean): Promise<unknown> {
    return this.call('POST', `/vms/${site}/${encodeURIComponent(name)}/hold-power-on`, { hold });
  }

  /** Whether a power-on of this VM waits because it is held. */
  async powerOnWaits(site: 'source' | 'destination', name: string): Promise<boolean> {
    const status = (await this.call('GET', '/status')) as { powerOnsHeld?: { site: string; vm: string }[] };
    return (status.powerOnsHeld ?? []).some((held) => held.site === site && held.vm === name);
  }

  leaks(): Promise<Record<'source' | 'destination', LabHoldings>> {
    return this.call('GET', '/leaks') as Promise<Record<'source' | 'destination', LabHoldings>>;
  }

  /** Ends a process of the lab the hard way, as a crash would. Returns its process id; throws when there is none. */
  async kill(role: LabProcess['role'], vm?: string): Promise<number> {
    const found = (await this.processes()).find(
      (candidate) => candidate.role === role && (vm === undefined || candidate.vm === undefined || candidate.vm === vm),
    );
    if (found === undefined) throw new Error(`The lab runs no process with the role ${role}`);
    process.kill(found.pid, 'SIGKILL');
    return found.pid;
  }

  private call(method: string, path: string, body?: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const call = request({ socketPath: this.socketPath, method, path, timeout: 60_000 }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          const status = response.statusCode ?? 0;
          if (status >= 300) reject(new Error(`The lab refused ${method} ${path}: ${String(status)} ${text}`));
          else resolve(text === '' ? null : JSON.parse(text));
        });
      });
      call.on('error', reject);
      call.on('timeout', () => call.destroy(new Error(`The lab did not answer ${method} ${path} within 60 s`)));
      if (body !== undefined) {
        call.setHeader('content-type', 'application/json');
        call.write(JSON.stringify(body));
      }
      call.end();
    });
  }
}
