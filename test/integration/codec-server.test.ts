// The codec server for the Temporal UI: what it shows, to whom, and that an encrypted history says nothing without it.
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codecServer } from '../../api/index.ts';
import { makePayloadCodec } from '../../temporal/payload-codec.ts';
import { fixedKeyring } from '../../temporal/payload-keys.ts';

const codec = makePayloadCodec(fixedKeyring([{ id: 'k1', key: Buffer.alloc(32, 7), createdAt: null }]));
const secret = 'a'.repeat(64);
const ui = 'http://127.0.0.1:8233';
let server: Server;
let url: string;

beforeAll(async () => {
  server = createServer(express().use(codecServer(codec, secret, [ui])));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/codec/`;
});
afterAll(() => server.close());

const ask = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
const plain = {
  metadata: { encoding: Buffer.from('json/plain').toString('base64') },
  data: Buffer.from('"hello"').toString('base64'),
};

describe('codec server', () => {
  it('encodes, and decodes what was encoded', async () => {
    const encoded = (await (await ask(`${secret}/encode`, { payloads: [plain] })).json()) as { payloads: unknown[] };
    expect(JSON.stringify(encoded)).not.toContain(plain.data);
    const decoded = await (await ask(`${secret}/decode`, encoded, { 'x-namespace': 'default' })).json();
    expect(decoded).toEqual({ payloads: [plain] });
  });

  it('lets the page of the UI ask, and no other page', async () => {
    const preflight = (origin: string) => fetch(`${url}${secret}/decode`, { method: 'OPTIONS', headers: { origin } });
    const allowed = await preflight(ui);
    expect(allowed.status).toBe(204);
    expect(allowed.headers.get('access-control-allow-origin')).toBe(ui);
    expect((await preflight('http://evil.example')).headers.get('access-control-allow-origin')).toBeNull();
  });

  it('is not there for whoever does not know its address', async () => {
    expect((await ask(`${'b'.repeat(64)}/decode`, { payloads: [] })).ok).toBe(false);
    expect((await ask('x/decode', { payloads: [] })).ok).toBe(false);
    expect((await ask(`${secret}/decode`, { payloads: 'nonsense' })).ok).toBe(false);
  });
});
