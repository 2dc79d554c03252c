// Two limits per client address: of requests, and (lower) of requests with a token that is not valid.
// Counted in this process only: a second API process doubles them, which is enough against accidents and guessing.
import type { RequestHandler } from 'express';
import { rateLimit } from 'express-rate-limit';
import { MigrationError } from '../../core/index.ts';

const windowMs = 60_000;

export function limitRequests(perMinuteMax: number): RequestHandler {
  return rateLimit({
    windowMs,
    limit: perMinuteMax,
    standardHeaders: 'draft-8',
    legacyHeaders: false,
    handler: (_request, _response, next) => {
      next(new MigrationError('TOO_MANY_REQUESTS', `More than ${perMinuteMax} requests came within a minute.`));
    },
  });
}

/** 256 random bits cannot be guessed, but whoever tries should be slowed and seen. */
export function limitFailedLogins(perMinuteMax: number): RequestHandler {
  return rateLimit({
    windowMs,
    limit: perMinuteMax,
    standardHeaders: false,
    legacyHeaders: false,
    skipSuccessfulRequests: true,
    requestWasSuccessful: (_request, response) => response.statusCode !== 401,
    handler: (_request, _response, next) => {
      next(new MigrationError('TOO_MANY_REQUESTS', 'Too many requests without a valid token came from this address.'));
    },
  });
}
