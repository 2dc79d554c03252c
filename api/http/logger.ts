// The API's log: JSON lines on standard error, with whatever may be a secret cut out by name.
// Bodies are never logged at all; the list below is the second wall.
import { pino, type DestinationStream, type Logger } from 'pino';

const secretFields = ['password', 'secret', 'token', 'authorization', 'cookie', 'enrolSecret', 'privateKeyPem'];

export function createLogger(destination?: DestinationStream): Logger {
  const options = {
    name: 'landfall-api',
    level: process.env['LANDFALL_LOG_LEVEL'] ?? 'info',
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: {
      paths: secretFields.flatMap((field) => [field, `*.${field}`, `*.*.${field}`, `req.headers.${field}`]),
      censor: '[redacted]',
    },
  };
  return destination === undefined ? pino(options, pino.destination(2)) : pino(options, destination);
}
