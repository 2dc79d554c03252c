// Failures as the command line shows them: what, why, and what to do about it. Never a stack trace.
import { problem, type Problem } from '../contracts/rest.ts';

/** A failure found by the command line itself. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly title: string;
  readonly remedy: string;

  constructor(title: string, detail: string, remedy: string) {
    super(detail);
    this.title = title;
    this.remedy = remedy;
  }
}

/** A problem that the API answered with. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError';
  readonly problem: Problem;

  constructor(body: Problem) {
    super(body.detail);
    this.problem = body;
  }
}

/** Makes the error for an answer that is not a success. */
export function errorOfAnswer(status: number, body: unknown): Error {
  const parsed = problem.safeParse(body);
  if (parsed.success) return new ProblemError(parsed.data);
  return new CliError(
    `The server answered ${status}`,
    'The answer is not a problem document.',
    'Check that LANDFALL_URL leads to a Landfall API.',
  );
}

/** What is printed on stderr before the exit with status 1. */
export function describeFailure(error: unknown, json: boolean): string {
  if (json) return JSON.stringify(toJson(error));
  if (error instanceof ProblemError) {
    const { title, detail, errors, remedy, code, requestId } = error.problem;
    const lines = [`Error: ${title}`];
    if (errors === undefined || errors.length === 0) {
      if (detail !== title) lines.push(`  ${detail}`);
    } else {
      lines.push(...errors.map((item) => `  ${[item.pointer, item.message].filter((part) => part !== '').join(': ')}`));
    }
    return [...lines, `What to do: ${remedy}`, `(${code}, request ${requestId})`].join('\n');
  }
  if (error instanceof CliError)
    return [`Error: ${error.title}`, `  ${error.message}`, `What to do: ${error.remedy}`].join('\n');
  return `Error: ${error instanceof Error ? error.message : String(error)}`;
}

function toJson(error: unknown): unknown {
  if (error instanceof ProblemError) return error.problem;
  if (error instanceof CliError) return { title: error.title, detail: error.message, remedy: error.remedy };
  return { title: 'Error', detail: error instanceof Error ? error.message : String(error) };
}
