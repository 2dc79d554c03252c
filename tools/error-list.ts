// Writes docs/errors.md from the table of error codes, the only place where codes are made.
// `tsx tools/error-list.ts` writes it; a unit test compares. It must not describe a code that the table lacks.

import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { errorCodes } from '../core/error-codes.ts';

const retryWords = {
  retryable: 'by itself, later',
  permanent: 'no',
  'needs-operator': 'after somebody acted',
} as const;

/** The whole page as Markdown. */
export function renderErrorList(): string {
  const rows = Object.entries(errorCodes).map(
    ([code, entry]) =>
      `| <a id="${code.toLowerCase()}"></a>\`${code}\` | ${entry.title} | ${String(entry.httpStatus)} | ${retryWords[entry.retry]} | ${entry.remedy} |`,
  );
  return `# Errors

Every problem that Landfall reports has one of these codes. Programs may rely on them; the text beside a code may change.
The API sends them as \`application/problem+json\` (RFC 9457) with \`code\`, \`detail\`, \`remedy\` and \`requestId\`.
This page is made from \`core/error-codes.ts\` by \`npx tsx tools/error-list.ts\`.

| code | what it means | HTTP | does trying again help | what to do |
|---|---|---|---|---|
${rows.join('\n')}
`;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  writeFileSync('docs/errors.md', renderErrorList());
}
