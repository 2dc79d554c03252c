/** Where Prisma's command line finds the schema. Migrations are applied by db/migrate.ts, not by Prisma. */
import { defineConfig } from 'prisma/config';

// Prisma's configuration loader reads the default export; it is the one exception to the rule.
export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
});
