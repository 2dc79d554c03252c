-- Alarms: what a person should look at. One row per breach, from its first sign to its end.
CREATE TABLE "alarm" (
    "id" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "code" TEXT NOT NULL,
    "migration_id" TEXT NOT NULL,
    "vm_migration_id" TEXT NOT NULL,
    "message" TEXT NOT NULL,
    "help" JSONB NOT NULL,
    "breached_since" TIMESTAMPTZ(3) NOT NULL,
    "raised_at" TIMESTAMPTZ(3),
    "fits_since" TIMESTAMPTZ(3),
    "cleared_at" TIMESTAMPTZ(3),

    CONSTRAINT "alarm_pkey" PRIMARY KEY ("id")
);

ALTER TABLE "alarm" ADD CONSTRAINT "alarm_vm_migration_id_fkey" FOREIGN KEY ("vm_migration_id") REFERENCES "vm_migration"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- Raised once per breach, whoever judges it at the same time.
CREATE UNIQUE INDEX "alarm_open_key" ON "alarm"("vm_migration_id", "kind", "code") WHERE "cleared_at" IS NULL;
CREATE INDEX "alarm_cleared_at_idx" ON "alarm"("cleared_at");
