/**
 * Reads properties of managed objects, typed by path, in pages, with what could not be read named beside what
 * could. It must not follow changes (that is the watcher's) nor interpret values.
 */
import type { Caller, CallOptions } from './call.ts';
import type { MoRef } from './schema.ts';
import type { ManagedObjects, ObjectContent, PropertyFilterSpec } from './types.gen.ts';

export type ObjectType = keyof ManagedObjects;

/** The type of a dotted path, for example `config.hardware.device`. */
export type PathValue<O, P extends string> = P extends `${infer K}.${infer Rest}`
  ? K extends keyof O
    ? PathValue<NonNullable<O[K]>, Rest>
    : never
  : P extends keyof O
    ? O[P]
    : never;

export type PathValues<T extends ObjectType, P extends string> = { [Q in P]?: PathValue<ManagedObjects[T], Q> };

export interface ObjectRead<T extends ObjectType, P extends string> {
  readonly ref: MoRef<T>;
  readonly values: PathValues<T, P>;
  /** Paths that the server did not give, with the type of the fault: usually NoPermission. */
  readonly missing: readonly { readonly path: string; readonly faultType: string }[];
}

/** Objects per answer: large VMs are some 50 KB each, so a page stays at a few MB. */
const pageSize = 100;

/** Reads one object. Fails with ManagedObjectNotFound when it is gone. */
export async function readObject<T extends ObjectType, const P extends string>(
  session: Caller,
  ref: MoRef<T>,
  paths: readonly P[],
  options?: CallOptions,
): Promise<ObjectRead<T, P>> {
  const specSet = [{ propSet: [{ type: ref.type, pathSet: [...paths] }], objectSet: [{ obj: ref }] }];
  const [read] = await retrieve<T, P>(session, specSet, options);
  return read ?? { ref, values: {}, missing: [] };
}

/** Reads many objects of one type; those that are gone are left out. */
export async function readObjects<T extends ObjectType, const P extends string>(
  session: Caller,
  type: T,
  refs: readonly MoRef[],
  paths: readonly P[],
  options?: CallOptions,
): Promise<ObjectRead<T, P>[]> {
  if (refs.length === 0) return [];
  const propSet = [{ type, pathSet: [...paths] }];
  const objectSet = refs.map((obj) => ({ obj }));
  return retrieve<T, P>(session, [{ propSet, objectSet, reportMissingObjectsInResults: true }], options);
}

/** Reads every object of one type (and its descendants) below `root`, by default the whole inventory. */
export async function listObjects<T extends ObjectType, const P extends string>(
  session: Caller,
  type: T,
  paths: readonly P[],
  root: MoRef = session.content.rootFolder,
  options?: CallOptions,
): Promise<ObjectRead<T, P>[]> {
  const container = root as MoRef<'Folder'>;
  const view = (await session.call(
    session.manager('viewManager'),
    'CreateContainerView',
    { container, type: [type], recursive: true },
    options,
  )) as MoRef<'ContainerView'>;
  try {
    const members = { _type: 'TraversalSpec', type: 'ContainerView', path: 'view', skip: false } as const;
    const specSet = [
      { propSet: [{ type, pathSet: [...paths] }], objectSet: [{ obj: view, skip: true, selectSet: [members] }] },
    ];
    return await retrieve<T, P>(session, specSet, options);
  } finally {
    await session.call(view, 'DestroyView', {}).catch(() => undefined);
  }
}

async function retrieve<T extends ObjectType, P extends string>(
  session: Caller,
  specSet: PropertyFilterSpec[],
  options?: CallOptions,
): Promise<ObjectRead<T, P>[]> {
  const collector = session.manager('propertyCollector');
  const reads: ObjectRead<T, P>[] = [];
  let page = await session.call(
    collector,
    'RetrievePropertiesEx',
    { specSet, options: { maxObjects: pageSize } },
    options,
  );
  while (page) {
    reads.push(...(page.objects ?? []).map(toRead<T, P>));
    if (!page.token) break;
    page = await session.call(collector, 'ContinueRetrievePropertiesEx', { token: page.token }, options);
  }
  return reads;
}

function toRead<T extends ObjectType, P extends string>(content: ObjectContent): ObjectRead<T, P> {
  return {
    ref: content.obj as MoRef<T>,
    values: Object.fromEntries((content.propSet ?? []).map(({ name, val }) => [name, val])) as PathValues<T, P>,
    missing: (content.missingSet ?? []).map(({ path, fault }) => ({ path, faultType: fault.fault._type ?? '' })),
  };
}
