// Reading by metadata: arrays, 64-bit integers, references, prefixes chosen by the server, unknown types.
import { describe, expect, it } from 'vitest';
import { decodeElement, parseXml } from './decoder.ts';

const xsi = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema"';
const read = (xml: string, type: string) => decodeElement(parseXml(xml.replace(/^<(\w+)/, `<$1 ${xsi}`)), type);

describe('objects', () => {
  it('gives arrays also for one element, bigint for 64 bits, references typed', () => {
    const xml =
      '<summary><datastore type="Datastore">datastore-1</datastore><name>a &amp; b</name><url>ds:///</url>' +
      '<capacity>9223372036854775807</capacity><freeSpace>1</freeSpace><accessible>true</accessible>' +
      '<type>VMFS</type></summary>';
    expect(read(xml, 'DatastoreSummary')).toEqual({
      datastore: { type: 'Datastore', value: 'datastore-1' },
      name: 'a & b',
      url: 'ds:///',
      capacity: 9223372036854775807n,
      freeSpace: 1n,
      accessible: true,
      type: 'VMFS',
    });
  });

  it('says the type of what a field may hold in several forms', () => {
    const xml =
      '<hardware><numCPU>1</numCPU><memoryMB>64</memoryMB><device xsi:type="VirtualDisk"><key>2000</key>' +
      '<backing xsi:type="VirtualDiskFlatVer2BackingInfo"><fileName>[ds] a.vmdk</fileName></backing>' +
      '<capacityInKB>1024</capacityInKB><iofilter>LANDFALL</iofilter></device></hardware>';
    expect(read(xml, 'VirtualHardware')).toMatchObject({
      device: [
        {
          _type: 'VirtualDisk',
          key: 2000,
          capacityInKB: 1024n,
          iofilter: ['LANDFALL'],
          backing: { _type: 'VirtualDiskFlatVer2BackingInfo', fileName: '[ds] a.vmdk' },
        },
      ],
    });
  });

  it('keeps an element that is there without content apart from one that is absent', () => {
    expect(read('<about><name></name></about>', 'AboutInfo')).toEqual({ name: '' });
  });
});

describe('anyType', () => {
  it.each([
    ['<val xsi:type="xsd:string">5</val>', '5'],
    ['<val xsi:type="xsd:int">5</val>', 5],
    ['<val xsi:type="xsd:long">5</val>', 5n],
    ['<val xsi:type="xsd:boolean">1</val>', true],
    ['<val xsi:type="xsd:dateTime">2026-01-02T03:04:05Z</val>', new Date('2026-01-02T03:04:05Z')],
    ['<val xsi:type="VirtualMachinePowerState">poweredOn</val>', 'poweredOn'],
    ['<val type="Task" xsi:type="ManagedObjectReference">task-1</val>', { type: 'Task', value: 'task-1' }],
    ['<val xsi:type="ArrayOfString"><string>a</string></val>', ['a']],
    ['<val xsi:type="ArrayOfInt"/>', []],
    [
      '<val xsi:type="ArrayOfManagedObjectReference"><ManagedObjectReference type="Network">n-1' +
        '</ManagedObjectReference></val>',
      [{ type: 'Network', value: 'n-1' }],
    ],
    [
      '<val xsi:type="ArrayOfVirtualDevice"><VirtualDevice xsi:type="VirtualCdrom"><key>3000</key></VirtualDevice></val>',
      [{ _type: 'VirtualCdrom', key: 3000 }],
    ],
  ])('reads %s', (xml, expected) => {
    expect(read(xml, 'anyType')).toEqual(expected);
  });

  it('reads a type that nobody described as plain values', () => {
    const xml = '<val xsi:type="FutureThing"><a>1</a><a>2</a><b><c type="HostSystem">host-1</c></b></val>';
    expect(read(xml, 'anyType')).toEqual({
      _type: 'FutureThing',
      a: ['1', '2'],
      b: { c: { type: 'HostSystem', value: 'host-1' } },
    });
  });
});

describe('documents', () => {
  it('does not care which prefixes a server chooses', () => {
    const xml =
      '<x:val xmlns:x="urn:vim25" xmlns:_i="http://www.w3.org/2001/XMLSchema-instance" _i:type="v:OptionValue" ' +
      'xmlns:v="urn:vim25"><x:key>k</x:key><x:value _i:type="q:int" xmlns:q="u">1</x:value></x:val>';
    expect(decodeElement(parseXml(xml), 'anyType')).toEqual({ _type: 'OptionValue', key: 'k', value: 1 });
  });

  it.each(['', '<a><b></a>', 'HTTP/1.1 nonsense'])('refuses %j', (xml) => {
    expect(() => parseXml(xml)).toThrow();
  });
});
