// The REST API. It validates, authorises, writes records with their audit rows, and starts or tells workflows; it moves
// no bytes and follows no migration itself. Start at routes/index.ts (the table), then http/app.ts (how it is served).
export { createApp, type AppOptions } from './http/app.ts';
export { createLogger } from './http/logger.ts';
export { openEventHub, type EventHub } from './events/event-hub.ts';
export { createFirstToken, refreshCliFile, writeCliFile, type CliFile } from './installation/first-token.ts';
export { keepHouse } from './installation/housekeeping.ts';
export { keepTellingParts } from './installation/parts.ts';
export { keepStartingQueued } from './migrations/start-queued.ts';
export { codecServer } from './codec/codec-server.ts';
export { createTemporalGateway } from './migrations/temporal-gateway.ts';
export type { Action, WorkflowGateway } from './migrations/workflow-gateway.ts';
export { createRouteTable, type RouteTable } from './routes/index.ts';
export { listen, type ListeningServer, type TlsFiles } from './server.ts';
export type { Services } from './services.ts';
export { createSiteConnector, type SiteConnector } from './sites/site-connector.ts';
