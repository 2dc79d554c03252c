// A command to a migration as a route: found in the records, judged by the workflow, and kept in the audit log with who
// gave it, whether it was accepted or refused. What a command means is said where the routes are listed.
import { z } from 'zod';
import { actionAccepted } from '../../contracts/rest.ts';
import type { ErrorCode } from '../../core/index.ts';
import { accepted, defineRoute, type HandlerContext, type Route } from '../http/route.ts';
import { commandAudited } from '../migrations/command-audited.ts';

/** How a command is called: in its path, in the documents. */
export interface ActionText {
  readonly action: string;
  readonly operationId: string;
  readonly summary: string;
  readonly description: string;
}

/** What the command is given to. */
export interface ActionTarget {
  readonly id: string;
  readonly endedAt: Date | null;
}

export interface ActionDefinition<
  Params,
  Found extends ActionTarget,
  Body extends Readonly<Record<string, unknown>>,
> extends ActionText {
  readonly of: 'migration' | 'vm-migration';
  readonly params: z.ZodType<Params>;
  readonly body: z.ZodType<Body>;
  /** Codes beyond those that every command may be answered with. */
  readonly problems: readonly ErrorCode[];
  readonly find: (params: Params, context: HandlerContext) => Promise<Found>;
  /** Refuses what the records alone can judge, then tells the workflow. */
  readonly give: (found: Found, body: Body, context: HandlerContext) => Promise<void>;
}

/** A command without words of its own takes no field. */
export const noWords = z.strictObject({}).prefault({});

export function defineAction<Params, Found extends ActionTarget, Body extends Readonly<Record<string, unknown>>>(
  definition: ActionDefinition<Params, Found, Body>,
): Route {
  const { of, action, params, body, problems, find, give, ...text } = definition;
  const parameter = of === 'migration' ? '{migrationId}' : '{vmMigrationId}';
  return defineRoute({
    method: 'post',
    path: `/api/v1/${of}s/${parameter}/actions/${action}`,
    tag: 'Migrations',
    ...text,
    scope: 'migrations:write',
    params,
    body,
    responses: { 202: { description: 'Accepted; the state follows', schema: actionAccepted } },
    problems: ['NOT_FOUND', 'ALREADY_ENDED', 'PHASE_DISALLOWS', ...problems, 'WORKFLOW_ENGINE_UNAVAILABLE'],
    async handler(input, context) {
      const found = await find(input.params, context);
      const { id, endedAt } = found;
      const target = { action: `${of}.${action}`, kind: of, id, endedAt, details: input.body } as const;
      await commandAudited(context, target, () => give(found, input.body, context));
      return accepted({ id, action, accepted: true }, `/api/v1/${of}s/${id}`);
    },
  });
}
