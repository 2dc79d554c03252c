// What a test orders to happen to activities, as files in one folder: the test writes them, the workers of step-worker.ts
// read them. An order is carried out once per activity, by whichever worker comes first; what was done stays on record.

import { mkdir, open, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AllActivities } from '../../contracts/activities.ts';

export type ActivityName = keyof AllActivities;

/**
 * `twice`: run two times in a row, always. `hold`: run, then kept from answering until it is cancelled or released, always. The
 * others strike once: `lost`: run, then reported as failed, so that it is tried
 * again; `fail-before` and `fail-after`: a failure that is not tried again, without and with the effect; `kill-during` and
 * `kill-after`: the worker is killed in the middle, and with the effect before the answer.
 */
export type Fault = 'twice' | 'lost' | 'fail-before' | 'fail-after' | 'kill-during' | 'kill-after' | 'hold';

export interface Order {
  readonly fault: Fault;
  readonly activities: readonly ActivityName[];
}

/** The name under which orders for a cluster's configuration lie; all others are names of VMs. */
export const clusterOrders = '.cluster';

export class StepFaults {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  /** Orders in the sequence in which they strike the same activity. Before the migration begins. */
  async order(subject: string, orders: readonly Order[]): Promise<void> {
    await mkdir(this.folder, { recursive: true });
    await writeFile(join(this.folder, `${subject}.json`), JSON.stringify(orders));
  }

  async ordersOf(subject: string): Promise<readonly Order[]> {
    const text = await readFile(join(this.folder, `${subject}.json`), 'utf8').catch(() => '[]');
    return JSON.parse(text) as Order[];
  }

  /** Notes that something happened; false when it is on record already. */
  async claim(subject: string, activity: string, what: string): Promise<boolean> {
    try {
      await (await open(join(this.folder, `${subject}+${activity}+${what}`), 'wx')).close();
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    }
  }

  /** Whether it is on record that this happened. */
  async happened(subject: string, activity: ActivityName, what: Fault | 'held' | 'released'): Promise<boolean> {
    return (await readdir(this.folder)).includes(`${subject}+${activity}+${what}`);
  }

  /** What happened to a subject, as `activity what`, in order of names. */
  async record(subject: string): Promise<string[]> {
    const mine = (await readdir(this.folder)).filter((name) => name.startsWith(`${subject}+`));
    return mine.map((name) => name.split('+').slice(1).join(' ')).sort();
  }

  /** Lets a held activity answer. */
  async release(subject: string, activity: ActivityName): Promise<void> {
    await this.claim(subject, activity, 'released');
  }
}
