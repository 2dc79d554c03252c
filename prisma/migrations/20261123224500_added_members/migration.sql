-- A member that was added to a running queue is told to the workflow after its records were written.
ALTER TABLE "vm_migration" ADD COLUMN "announced" BOOLEAN NOT NULL DEFAULT true;

CREATE INDEX "vm_migration_unannounced" ON "vm_migration" ("migration_id") WHERE NOT "announced";
