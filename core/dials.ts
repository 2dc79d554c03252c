/**
 * The dials of a migration: how hard background replication may push and how far guest writes may be
 * slowed. Meaning of the numbers: docs, "Dials". No decisions about when to turn them are made here.
 */
export interface Dials {
  /** 0 pauses background replication, 50 is uncapped but yields to the guest, 100 never yields. */
  readonly replicationRate: number;
  /** 0 is off; above, writes that dirty clean blocks are paced so that replication converges. */
  readonly writeThrottling: number;
  /** Absolute limit of everything that is sent, as a decimal string, beside the rate; the lower binds. */
  readonly bytesPerSecondMax: string | null;
  /** Absolute limit of the delay that write throttling may add to one write. */
  readonly addedWriteLatencyMsMax: number | null;
}

export const defaultDials: Dials = {
  replicationRate: 50,
  writeThrottling: 0,
  bytesPerSecondMax: null,
  addedWriteLatencyMsMax: null,
};

/** A member's own dials win over those of its migration until they are reset. */
export function effectiveDials(own: Dials | null, inherited: Dials): Dials {
  return own ?? inherited;
}
