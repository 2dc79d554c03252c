// Golden requests: element order, xsi:type and version gating as vCenter's own parser demands them.
import { describe, expect, it } from 'vitest';
import { fieldsOf } from './schema.ts';
import { serializeCall } from './serializer.ts';

const vm = { type: 'VirtualMachine', value: 'vm-42' };

describe('order', () => {
  it('writes elements in schema order, the base type first, whatever the order of the object', () => {
    const spec = {
      vmProfile: [{ _type: 'VirtualMachineEmptyProfileSpec' }],
      deviceChange: [
        {
          _type: 'VirtualDeviceConfigSpec',
          device: {
            _type: 'VirtualDisk',
            capacityInKB: 1024n,
            unitNumber: 0,
            controllerKey: 1000,
            backing: {
              _type: 'VirtualDiskFlatVer2BackingInfo',
              diskMode: 'persistent',
              fileName: '[ds] a/b.vmdk',
            },
            key: -1,
          },
          operation: 'add',
        },
      ],
      memoryMB: 512n,
      name: 'app <1> & "2"',
    };
    expect(serializeCall('ReconfigVM_Task', vm, { spec }, '8.0.3.0')).toBe(
      '<ReconfigVM_Task xmlns="urn:vim25"><_this type="VirtualMachine">vm-42</_this><spec>' +
        '<name>app &lt;1&gt; &amp; &quot;2&quot;</name><memoryMB>512</memoryMB>' +
        '<deviceChange xsi:type="VirtualDeviceConfigSpec"><operation>add</operation>' +
        '<device xsi:type="VirtualDisk"><key>-1</key>' +
        '<backing xsi:type="VirtualDiskFlatVer2BackingInfo"><fileName>[ds] a/b.vmdk</fileName>' +
        '<diskMode>persistent</diskMode></backing>' +
        '<controllerKey>1000</controllerKey><unitNumber>0</unitNumber><capacityInKB>1024</capacityInKB></device>' +
        '</deviceChange><vmProfile xsi:type="VirtualMachineEmptyProfileSpec"></vmProfile></spec></ReconfigVM_Task>',
    );
  });

  it('puts the two fields that the schema source appends where vCenter declares them', () => {
    const names = fieldsOf('VirtualMachineConfigSpec').map(({ name }) => name);
    const at = names.indexOf('managedBy');
    expect(names.slice(at, at + 4)).toEqual([
      'managedBy',
      'extensionCompatibilityConstraint',
      'skipExtensionCompatibilityChecks',
      'memoryReservationLockedToMax',
    ]);
  });

  it('writes policy calls in their own namespace', () => {
    const profile = { uniqueId: 'p-1' };
    const on = { type: 'PbmProfileProfileManager', value: 'ProfileManager' };
    expect(serializeCall('PbmQueryAssociatedEntity', on, { profile }, '8.0.3.0')).toBe(
      '<PbmQueryAssociatedEntity xmlns="urn:pbm"><_this type="PbmProfileProfileManager">ProfileManager</_this>' +
        '<profile><uniqueId>p-1</uniqueId></profile></PbmQueryAssociatedEntity>',
    );
  });
});

describe('version gating', () => {
  const spec = { flags: { vbsEnabled: true, diskUuidEnabled: true }, tdxEnabled: true, sevEnabled: true, name: 'a' };
  const written = (version: string) => serializeCall('ReconfigVM_Task', vm, { spec }, version);

  it.each([
    ['9.1.0.0', ['tdxEnabled', 'sevEnabled', 'vbsEnabled', 'diskUuidEnabled']],
    ['8.0.3.0', ['sevEnabled', 'vbsEnabled', 'diskUuidEnabled']],
    ['6.7', ['vbsEnabled', 'diskUuidEnabled']],
    ['6.5', ['diskUuidEnabled']],
  ])('sends to %s only what it knows', (version, expected) => {
    const fields = ['tdxEnabled', 'sevEnabled', 'vbsEnabled', 'diskUuidEnabled'];
    expect(fields.filter((field) => written(version).includes(`<${field}>`))).toEqual(expected);
  });

  it('leaves out arguments of a call that are too new', () => {
    const args = {
      vibUrl: 'https://a/b.vib',
      compRes: { type: 'ClusterComputeResource', value: 'c-1' },
      vibSslTrust: { _type: 'PinnedCertificate', sslCertificate: 'PEM' },
    };
    const on = { type: 'IoFilterManager', value: 'iof' };
    expect(serializeCall('InstallIoFilter_Task', on, args, '8.0.2.0')).not.toContain('vibSslTrust');
    expect(serializeCall('InstallIoFilter_Task', on, args, '8.0.3.0')).toContain(
      '<vibSslTrust xsi:type="PinnedCertificate"><sslCertificate>PEM</sslCertificate></vibSslTrust>',
    );
  });
});

describe('anyType', () => {
  it.each([
    ['text', 'xsd:string', 'text'],
    [7, 'xsd:int', '7'],
    [7n, 'xsd:long', '7'],
    [0.5, 'xsd:double', '0.5'],
    [true, 'xsd:boolean', 'true'],
    [new Date(0), 'xsd:dateTime', '1970-01-01T00:00:00.000Z'],
  ])('names the type of %s', (value, type, text) => {
    const changedValue = [{ _type: 'OptionValue', key: 'k', value }];
    expect(
      serializeCall('UpdateOptions', { type: 'OptionManager', value: 'o' }, { changedValue }, '8.0.3.0'),
    ).toContain(`<value xsi:type="${type}">${text}</value>`);
  });
});

describe('mistakes of the caller', () => {
  it.each([
    ['an unknown element', { spec: { bogus: 1 } }, /VirtualMachineConfigSpec has no element bogus/],
    ['a device without its type', { spec: { deviceChange: [{ device: {} }] } }, /deviceChange needs a _type/],
    ['a fraction for an integer', { spec: { numCPUs: 1.5 } }, /numCPUs needs an integer/],
    ['a character that XML cannot carry', { spec: { name: 'a\u0000b' } }, /control character/],
  ])('refuses %s', (_, args, message) => {
    expect(() => serializeCall('ReconfigVM_Task', vm, args, '8.0.3.0')).toThrow(message);
  });
});
