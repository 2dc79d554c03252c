/**
 * What registering a vCenter needs beyond logging in: its clock, our rights, our extension record, and the marks we
 * leave on virtual machines. Every function may be repeated.
 */
import { isFault } from './faults.ts';
import { readObject } from './properties.ts';
import type { MoRef } from './schema.ts';
import type { VsphereSession } from './session.ts';
import type { Extension, Methods } from './types.gen.ts';

export type EntityRef = MoRef<Methods['SetField']['args']['entity']['type']>;

/** The vCenter's clock; also keeps the session alive. */
export async function currentTime(session: VsphereSession): Promise<Date> {
  return session.call({ type: 'ServiceInstance', value: 'ServiceInstance' }, 'CurrentTime', {});
}

/** Of these privileges, those that the logged-in user lacks on any of the entities. */
export async function missingPrivileges(
  session: VsphereSession,
  entities: readonly EntityRef[],
  privileges: readonly string[],
): Promise<string[]> {
  const { values } = await readObject(session, session.manager('sessionManager'), ['currentSession']);
  const answers = await session.call(session.manager('authorizationManager'), 'HasPrivilegeOnEntities', {
    entity: [...entities],
    sessionId: values.currentSession?.key ?? '',
    privId: [...privileges],
  });
  const refused = (answers ?? []).flatMap(({ privAvailability }) => privAvailability.filter((p) => !p.isGranted));
  return [...new Set(refused.map(({ privId }) => privId))];
}

/** Registers our extension record, or brings the registered one up to date. */
export async function ensureExtension(session: VsphereSession, extension: Extension): Promise<void> {
  const manager = session.manager('extensionManager');
  const existing = await session.call(manager, 'FindExtension', { extensionKey: extension.key });
  await session.call(manager, existing ? 'UpdateExtension' : 'RegisterExtension', { extension });
}

/** Nothing to do when it is gone. */
export async function removeExtension(session: VsphereSession, extensionKey: string): Promise<void> {
  try {
    await session.call(session.manager('extensionManager'), 'UnregisterExtension', { extensionKey });
  } catch (error) {
    if (!isFault(error, 'NotFound')) throw error;
  }
}

/** Sets a custom attribute of a virtual machine, defining the attribute first if need be; empty clears it. */
export async function markVm(
  session: VsphereSession,
  vm: MoRef<'VirtualMachine'>,
  attribute: string,
  value: string,
): Promise<void> {
  const manager = session.manager('customFieldsManager');
  const key = (await findField(session, attribute)) ?? (await defineField(session, attribute));
  await session.call(manager, 'SetField', { entity: vm, key, value });
}

async function findField(session: VsphereSession, name: string): Promise<number | undefined> {
  const { values } = await readObject(session, session.manager('customFieldsManager'), ['field']);
  return values.field?.find((field) => field.name === name)?.key;
}

async function defineField(session: VsphereSession, name: string): Promise<number> {
  try {
    const manager = session.manager('customFieldsManager');
    return (await session.call(manager, 'AddCustomFieldDef', { name, moType: 'VirtualMachine' })).key;
  } catch (error) {
    const key = isFault(error, 'DuplicateName') ? await findField(session, name) : undefined;
    if (key !== undefined) return key;
    throw error;
  }
}
