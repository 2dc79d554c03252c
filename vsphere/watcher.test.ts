// The watcher against a scripted server: changes, lost updates, aborts, deleted objects, a lost collector.
import { afterEach, expect, it, vi } from 'vitest';
import type { Caller } from './call.ts';
import { VsphereFault } from './faults.ts';
import type { MoRef } from './schema.ts';
import type { UpdateSet } from './types.gen.ts';
import { createWatcher, type Watcher } from './watcher.ts';

const task: MoRef<'Task'> = { type: 'Task', value: 'task-1' };

/** A server with one object whose properties the test sets; waits end when the test says so. */
function scriptedServer() {
  const calls: string[] = [];
  let state = 'running';
  let filters = 0;
  let answer: ((result: UpdateSet | undefined | Error) => void) | undefined;
  const caller = {
    address: 'vc',
    content: {},
    manager: () => ({ type: 'PropertyCollector', value: 'root' }),
    async call(_on: MoRef, method: string, args: { version?: string }, options?: { signal?: AbortSignal }) {
      calls.push(args.version === undefined ? method : `${method}(${args.version})`);
      switch (method) {
        case 'CreatePropertyCollector':
          return { type: 'PropertyCollector', value: 'mine' };
        case 'CreateFilter':
          return { type: 'PropertyFilter', value: `filter-${++filters}` };
        case 'RetrievePropertiesEx':
          return { objects: [{ obj: task, propSet: [{ name: 'info.state', val: state }] }] };
        case 'WaitForUpdatesEx': {
          return new Promise((resolve, reject) => {
            answer = (result) => (result instanceof Error ? reject(result) : resolve(result));
            options?.signal?.addEventListener('abort', () => reject(options.signal?.reason as Error));
          });
        }
        default:
          return undefined;
      }
    },
  };
  const waiting = () => vi.waitFor(() => expect(answer).toBeDefined());
  const end = async (result: UpdateSet | undefined | Error) => {
    await waiting();
    const now = answer;
    answer = undefined;
    now?.(result);
  };
  return {
    calls,
    waiting,
    end,
    caller: caller as unknown as Caller,
    set: (value: string) => (state = value),
    change: (value: string, filter = 'filter-1') =>
      end({
        version: '1',
        filterSet: [
          {
            filter: { type: 'PropertyFilter', value: filter },
            objectSet: [{ kind: 'modify', obj: task, changeSet: [{ name: 'info.state', op: 'assign', val: value }] }],
          },
        ],
      }),
  };
}

let watcher: Watcher | undefined;
afterEach(() => watcher?.stop());

const success = (values: { 'info.state'?: string }) => (values['info.state'] === 'success' ? 'done' : undefined);
const patient = { what: 'the test', timeoutMs: 5_000 };

it('sees at once what is already so', async () => {
  const server = scriptedServer();
  server.set('success');
  watcher = createWatcher(server.caller);
  expect(await watcher.watch(task, ['info.state'], success, patient)).toBe('done');
});

it('sees a change, and waits on with the version that came with it', async () => {
  const server = scriptedServer();
  watcher = createWatcher(server.caller);
  const watched = watcher.watch(task, ['info.state'], success, patient);
  await server.change('queued');
  await server.change('success');
  expect(await watched).toBe('done');
  expect(server.calls.filter((call) => call.startsWith('Wait')).slice(0, 2)).toEqual([
    'WaitForUpdatesEx()',
    'WaitForUpdatesEx(1)',
  ]);
});

it('reads everything again after a wait without news, so that a lost update is found', async () => {
  const server = scriptedServer();
  watcher = createWatcher(server.caller);
  const watched = watcher.watch(task, ['info.state'], success, patient);
  await server.waiting();
  server.set('success');
  await server.end(undefined);
  expect(await watched).toBe('done');
});

it('takes a new collector after a broken wait', async () => {
  const server = scriptedServer();
  watcher = createWatcher(server.caller);
  const watched = watcher.watch(task, ['info.state'], success, patient);
  await server.end(new VsphereFault('WaitForUpdatesEx', { _type: 'ManagedObjectNotFound' }, 'the session is new'));
  server.set('success');
  expect(await watched).toBe('done');
  expect(server.calls.filter((call) => call === 'CreatePropertyCollector')).toHaveLength(2);
});

it('gives up when the object is gone, the time is over, or the caller does not care any more', async () => {
  const server = scriptedServer();
  watcher = createWatcher(server.caller);
  const gone = watcher.watch(task, ['info.state'], success, patient);
  const update = { kind: 'leave' as const, obj: task };
  const filter = { type: 'PropertyFilter', value: 'filter-1' } as const;
  await server.end({ version: '2', filterSet: [{ filter, objectSet: [update] }] });
  await expect(gone).rejects.toMatchObject({ code: 'VSPHERE_NOT_FOUND' });
  const late = watcher.watch(task, ['info.state'], success, { what: 'Godot', timeoutMs: 20 });
  await expect(late).rejects.toMatchObject({ code: 'VSPHERE_TIMEOUT', safeMessage: 'Waited in vain for Godot' });
  const signal = AbortSignal.timeout(20);
  const aborted = watcher.watch(task, ['info.state'], success, { ...patient, signal });
  await expect(aborted).rejects.toMatchObject({ name: 'TimeoutError' });
});

it('ends what is being followed when it is stopped', async () => {
  const server = scriptedServer();
  watcher = createWatcher(server.caller);
  const watched = watcher.watch(task, ['info.state'], success, patient);
  await server.waiting();
  await Promise.all([expect(watched).rejects.toMatchObject({ code: 'VSPHERE_UNREACHABLE' }), watcher.stop()]);
  await expect(watcher.watch(task, ['info.state'], success, patient)).rejects.toThrow(/closed/);
});
