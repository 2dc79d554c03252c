/** Receipts, kept byte for byte as they were signed. */
import { MigrationError } from '../core/index.ts';
import type { Receipt } from '../generated/prisma/client.ts';
import type { Db } from './database.ts';
import { newId } from './new-id.ts';

export type { Receipt };

/** Keeps a receipt; the first one stays, a repeated step changes nothing. */
export async function insertReceipt(db: Db, vmMigrationId: string, document: string): Promise<Receipt> {
  return db.receipt.upsert({
    where: { vmMigrationId },
    create: { id: newId('rcpt'), vmMigrationId, document },
    update: {},
  });
}

export function findReceipt(db: Db, vmMigrationId: string): Promise<Receipt | null> {
  return db.receipt.findUnique({ where: { vmMigrationId } });
}

export async function getReceipt(db: Db, vmMigrationId: string): Promise<Receipt> {
  const receipt = await findReceipt(db, vmMigrationId);
  if (receipt !== null) return receipt;
  throw new MigrationError('NOT_FOUND', `There is no receipt of ${vmMigrationId} yet`, {
    remedy: 'A receipt is written after the final migration.',
  });
}
