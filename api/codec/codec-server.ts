// The codec server that the Temporal UI asks to show encrypted payloads in clear: /decode and /encode below an address that
// cannot be guessed. Whoever knows the address and can read the engine's database can read what is in it; the API's tokens
// mean nothing here, because the UI has none.
import { timingSafeEqual } from 'node:crypto';
import express, { Router, type RequestHandler } from 'express';
import type { PayloadCodec } from '@temporalio/common';
import { z } from 'zod';
import { MigrationError } from '../../core/index.ts';

/** A page of a workflow's history in the UI holds far less. */
const bodyBytesMax = '8mb';

const base64 = z.base64();
const payloads = z.object({
  payloads: z.array(z.object({ metadata: z.record(z.string(), base64).default({}), data: base64.default('') })),
});
type WirePayload = z.infer<typeof payloads>['payloads'][number];

/** `origins`: where the UI is served from; `secret`: the part of the address that cannot be guessed. */
export function codecServer(codec: PayloadCodec, secret: string, origins: readonly string[]): Router {
  const router = Router();
  router.use('/codec/:secret', refuseStrangers(secret), allowOrigins(origins), express.json({ limit: bodyBytesMax }));
  for (const [path, work] of [
    ['decode', codec.decode],
    ['encode', codec.encode],
  ] as const) {
    router.post(`/codec/:secret/${path}`, async (request, response) => {
      const given = payloads.safeParse(request.body);
      if (!given.success) throw new MigrationError('INVALID_INPUT', 'These are no payloads.');
      const done = await work(given.data.payloads.map(fromWire));
      response.json({ payloads: done.map(toWire) });
    });
  }
  return router;
}

function refuseStrangers(secret: string): RequestHandler {
  const wanted = Buffer.from(secret);
  return (request, _response, next) => {
    const given = Buffer.from(String(request.params['secret']));
    if (given.length === wanted.length && timingSafeEqual(given, wanted)) next();
    else throw new MigrationError('NOT_FOUND', 'There is nothing here.');
  };
}

/** What browsers ask before they send (https://fetch.spec.whatwg.org/#http-cors-protocol). */
function allowOrigins(origins: readonly string[]): RequestHandler {
  return (request, response, next) => {
    const { origin } = request.headers;
    if (origin !== undefined && origins.includes(origin)) {
      response.set('Access-Control-Allow-Origin', origin);
      response.set('Access-Control-Allow-Methods', 'POST');
      response.set('Access-Control-Allow-Headers', 'content-type, x-namespace');
      response.set('Vary', 'Origin');
    }
    if (request.method === 'OPTIONS') response.status(204).end();
    else next();
  };
}

type Payload = Awaited<ReturnType<PayloadCodec['decode']>>[number];

function fromWire({ metadata, data }: WirePayload): Payload {
  const entries = Object.entries(metadata).map(([name, value]) => [name, Buffer.from(value, 'base64')]);
  return { metadata: Object.fromEntries(entries) as Record<string, Buffer>, data: Buffer.from(data, 'base64') };
}

function toWire({ metadata, data }: Payload): WirePayload {
  const entries = Object.entries(metadata ?? {}).map(([name, value]) => [name, Buffer.from(value).toString('base64')]);
  return {
    metadata: Object.fromEntries(entries) as Record<string, string>,
    data: Buffer.from(data ?? []).toString('base64'),
  };
}
