-- A site can be paused as a whole; what waits for its turn has a place in line.
ALTER TABLE "site" ADD COLUMN "paused_at" TIMESTAMPTZ(3);

ALTER TABLE "migration" ADD COLUMN "place" INTEGER;

ALTER TABLE "vm_migration"
  ADD COLUMN "place"        INTEGER,
  ADD COLUMN "held_by_site" BOOLEAN NOT NULL DEFAULT false;

CREATE INDEX "vm_migration_held_by_site" ON "vm_migration" ("id") WHERE "held_by_site";
