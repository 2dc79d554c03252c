// Runs `landfall verify` on a receipt, as a third party would. It reads the answer; it does not judge.

import { spawn } from 'node:child_process';
import { resolve } from 'node:path';

/** Exit status and everything that was printed. */
export interface VerifyAnswer {
  readonly exitStatus: number;
  readonly output: string;
}

/** `diskPath`: a raw disk whose root is recomputed, or undefined to check the document alone. */
export async function runVerify(receiptFile: string, diskPath: string | undefined): Promise<VerifyAnswer> {
  const disk = diskPath === undefined ? [] : ['--disk', diskPath];
  const child = spawn(process.execPath, [resolve('dist/cli/main.js'), 'verify', receiptFile, ...disk], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
  const exitStatus = await new Promise<number>((done, failed) => {
    child.once('error', failed);
    child.once('close', (code) => {
      done(code ?? 1);
    });
  });
  return { exitStatus, output: Buffer.concat(chunks).toString('utf8') };
}
