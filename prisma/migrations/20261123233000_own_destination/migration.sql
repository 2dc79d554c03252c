-- One VM of a migration can be retried with another place at the destination.
ALTER TABLE "vm_migration" ADD COLUMN "destination" JSONB;
