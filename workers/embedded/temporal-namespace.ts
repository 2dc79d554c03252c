/**
 * What the product needs in its Temporal namespace: search attributes, and closed workflows kept long enough to look at.
 * It must not create namespaces: the embedded server has its own, a real one belongs to its operators.
 */
import { Connection } from '@temporalio/client';
import { MigrationError } from '../../core/index.ts';

/** Name and type of a search attribute, the type in Temporal's words. */
export interface SearchAttribute {
  readonly name: string;
  readonly type: 'TEXT' | 'KEYWORD' | 'INT' | 'DOUBLE' | 'BOOL' | 'DATETIME' | 'KEYWORD_LIST';
}

/** Numbers of the types in Temporal's protocol. */
const typeNumbers = { TEXT: 1, KEYWORD: 2, INT: 3, DOUBLE: 4, BOOL: 5, DATETIME: 6, KEYWORD_LIST: 7 } as const;

const namespace = 'default';
const retentionSeconds = 30 * 24 * 3600;

async function addMissing(connection: Connection, wanted: readonly SearchAttribute[]): Promise<void> {
  const there = await connection.operatorService.listSearchAttributes({ namespace });
  const missing = wanted.filter(({ name }) => there.customAttributes[name] === undefined);
  if (missing.length === 0) return;
  const searchAttributes = Object.fromEntries(missing.map(({ name, type }) => [name, typeNumbers[type]]));
  await connection.operatorService.addSearchAttributes({ namespace, searchAttributes });
}

/** May be called at every start. Retention is ours to set only on the embedded server. */
export async function prepareNamespace(
  address: string,
  wanted: readonly SearchAttribute[],
  { embedded }: { readonly embedded: boolean },
): Promise<void> {
  const connection = await Connection.connect({ address, connectTimeout: 10_000 }).catch((cause: unknown) => {
    throw new MigrationError('WORKFLOW_ENGINE_UNAVAILABLE', `No Temporal server answers at ${address}`, { cause });
  });
  try {
    await addMissing(connection, wanted);
    if (!embedded) return;
    await connection.workflowService.updateNamespace({
      namespace,
      config: { workflowExecutionRetentionTtl: { seconds: retentionSeconds as unknown as Long } },
    });
  } finally {
    await connection.close();
  }
}
