/** JSON over HTTP on a unix socket, with the connection kept: a question costs a fraction of a millisecond. */
import { Agent, request } from 'node:http';

export interface UnixHttp {
  /** Throws with the answer's text when it is not a success. */
  ask<Answer>(method: 'GET' | 'PUT' | 'POST', path: string, body?: unknown): Promise<Answer>;
  close(): void;
}

const patienceMs = 120_000;

export function unixHttp(socketPath: string): UnixHttp {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  return {
    ask: <Answer>(method: 'GET' | 'PUT' | 'POST', path: string, body?: unknown) =>
      new Promise<Answer>((resolve, reject) => {
        const headers = { 'content-type': 'application/json' };
        const call = request({ socketPath, path, method, agent, headers, timeout: patienceMs }, (response) => {
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (chunk: string) => (text += chunk));
          response.on('error', reject);
          response.on('end', () => {
            const status = response.statusCode ?? 500;
            if (status >= 300) reject(new Error(`${method} ${path}: ${status} ${text}`));
            else resolve((text === '' ? null : JSON.parse(text)) as Answer);
          });
        });
        call.on('timeout', () => call.destroy(new Error(`${method} ${path}: no answer in ${patienceMs / 1000} s`)));
        call.on('error', reject);
        call.end(body === undefined ? undefined : JSON.stringify(body));
      }),
    close: () => {
      agent.destroy();
    },
  };
}
