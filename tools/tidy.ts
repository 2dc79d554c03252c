/**
 * Looks over all files that git knows or would take up. Fails on what never belongs here: forgotten marks, missing opening
 * comments, dead files, generated files nobody generates, machine paths, registry addresses. Lists what is long, for a look.
 * It must not repeat the formatter, the linter or the import rules.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { deadFiles } from './tidy/dead-files.ts';
import { longThings } from './tidy/lengths.ts';
import { packageProblems } from './tidy/packages.ts';
import { textProblems } from './tidy/text-rules.ts';
import type { Source } from './tidy/source.ts';

const bytesMax = 2_000_000;

function sources(): Source[] {
  const args = ['ls-files', '--cached', '--others', '--exclude-standard', '-z'];
  const paths = execFileSync('git', args, { encoding: 'utf8' }).split('\0');
  return [...new Set(paths)]
    .filter((path) => path !== '' && existsSync(path) && statSync(path).isFile() && statSync(path).size < bytesMax)
    .map((path) => ({ path, text: readFileSync(path, 'utf8') }))
    .filter(({ text }) => !text.includes('\0'));
}

const all = sources();
const long = longThings(all);
if (long.length > 0)
  process.stdout.write(`For a look, perhaps two jobs in one:\n${long.map((line) => `  ${line}\n`).join('')}`);

const problems = [...all.flatMap(textProblems), ...deadFiles(all), ...packageProblems(all)];
for (const problem of problems) process.stderr.write(`${problem}\n`);
process.stdout.write(`tidy: ${all.length} files, ${problems.length} problems\n`);
process.exitCode = problems.length === 0 ? 0 : 1;
