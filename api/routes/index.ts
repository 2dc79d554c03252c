// The route table: every route of the API, in the order of the documents.
import { makeOpenApiDocument, type OpenApiDocument } from '../documents/openapi.ts';
import type { Route } from '../http/route.ts';
import { admissionRoutes } from './admission.ts';
import { alarmRoutes } from './alarms.ts';
import { auditRoutes } from './audit.ts';
import { clusterRoutes } from './clusters.ts';
import { eventRoutes } from './events.ts';
import { installationRoutes } from './installation.ts';
import { keyRoutes } from './keys.ts';
import { leakRoutes } from './leaks.ts';
import { migrationRoutes } from './migrations.ts';
import { siteActionRoutes } from './site-actions.ts';
import { siteRoutes } from './sites.ts';
import { tokenRoutes } from './tokens.ts';
import { vmMigrationRoutes } from './vm-migrations.ts';

export interface RouteTable {
  readonly routes: readonly Route[];
  readonly document: OpenApiDocument;
}

export function createRouteTable(version: string): RouteTable {
  const routes: readonly Route[] = [
    ...siteRoutes,
    ...siteActionRoutes,
    ...clusterRoutes,
    ...migrationRoutes,
    ...vmMigrationRoutes,
    ...admissionRoutes,
    ...alarmRoutes,
    ...eventRoutes,
    ...leakRoutes,
    ...auditRoutes,
    ...tokenRoutes,
    ...keyRoutes,
    ...installationRoutes(() => document),
  ];
  const document = makeOpenApiDocument(routes, version);
  return { routes, document };
}
