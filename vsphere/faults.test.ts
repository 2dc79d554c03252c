// Faults carry a stable code and retry class, and are told apart by type.
import { expect, it } from 'vitest';
import { hasCode } from '../core/index.ts';
import { isFault, VsphereFault } from './faults.ts';
import { keepSecret } from './secrets.ts';

it.each([
  ['InvalidLogin', 'VSPHERE_LOGIN_FAILED', 'needs-operator'],
  ['NotAuthenticated', 'VSPHERE_LOGIN_FAILED', 'needs-operator'],
  ['NoPermission', 'VSPHERE_NO_PERMISSION', 'needs-operator'],
  ['ManagedObjectNotFound', 'VSPHERE_NOT_FOUND', 'permanent'],
  ['FileLocked', 'VSPHERE_FILE_LOCKED', 'retryable'],
  ['NoDiskSpace', 'VSPHERE_NO_SPACE', 'needs-operator'],
  ['TaskInProgress', 'VSPHERE_BUSY', 'retryable'],
  ['InvalidPowerState', 'VSPHERE_INVALID_STATE', 'permanent'],
  ['InvalidDeviceSpec', 'VSPHERE_INVALID_ARGUMENT', 'permanent'],
  ['HostNotConnected', 'VSPHERE_UNREACHABLE', 'retryable'],
  ['FaultOfTheFuture', 'VSPHERE_FAULT', 'permanent'],
])('%s is %s and %s', (type, code, retry) => {
  const fault = new VsphereFault('PowerOnVM_Task', { _type: type }, 'said the server');
  expect(fault).toMatchObject({ code, retry, faultType: type, safeMessage: 'PowerOnVM_Task: said the server' });
});

it('is a member of our error family and of its fault’s families', () => {
  const fault = new VsphereFault('CreateVM_Task', { _type: 'FileLocked', file: '[ds] a' }, '');
  expect(hasCode(fault, 'VSPHERE_FILE_LOCKED')).toBe(true);
  expect(isFault(fault, 'FileNotFound', 'FileFault')).toBe(true);
  expect(isFault(fault, 'FileNotFound')).toBe(false);
  expect(isFault(new Error('FileLocked'), 'FileLocked')).toBe(false);
  expect(fault.safeMessage).toBe('CreateVM_Task: FileLocked');
  expect(fault.fault['file']).toBe('[ds] a');
});

it('never repeats the password of an open session, and shows its own words in no log', () => {
  const forget = keepSecret('p&ss w0rd');
  const reason = 'p&ss w0rd is wrong, so is cCZzcyB3MHJk';
  const fault = new VsphereFault('Login', { _type: 'InvalidLogin', reason }, 'user:p%26ss%20w0rd');
  expect(fault.safeMessage).toBe('Login: user:[password] ([password] is wrong, so is [password])');
  expect(JSON.stringify({ ...fault })).not.toContain('p&ss');
  expect(fault.fault['reason']).toBe(reason);
  forget();
  expect(new VsphereFault('Login', {}, 'p&ss w0rd').safeMessage).toContain('p&ss w0rd');
});
