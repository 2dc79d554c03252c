-- Groups, queues that change, final policies, objectives, admission.

ALTER TABLE "migration"
  ADD COLUMN "final"       JSONB NOT NULL DEFAULT '{"mode": "manual", "windows": []}',
  ADD COLUMN "concurrency" INTEGER NOT NULL DEFAULT 1 CHECK ("concurrency" >= 1),
  ADD COLUMN "priority"    INTEGER NOT NULL DEFAULT 3 CHECK ("priority" BETWEEN 1 AND 5),
  ADD COLUMN "paused"      BOOLEAN NOT NULL DEFAULT false,
  ADD COLUMN "runbook"     JSONB NOT NULL DEFAULT '{"shutDown": [], "powerOn": []}',
  ADD COLUMN "objectives"  JSONB NOT NULL DEFAULT '{"targetDurationSeconds": null, "downtimeSecondsMax": null}',
  ADD COLUMN "reason"      JSONB,
  ADD COLUMN "waiting_for" TEXT;

UPDATE "migration" SET "final" = '{"mode": "auto", "windows": []}' WHERE "auto_final";

ALTER TABLE "migration" DROP COLUMN "auto_final";

ALTER TABLE "vm_migration"
  ADD COLUMN "source_host_moref" TEXT,
  ADD COLUMN "held"              BOOLEAN NOT NULL DEFAULT false,
  ADD COLUMN "paused"            BOOLEAN NOT NULL DEFAULT false,
  ADD COLUMN "decision"          TEXT CHECK ("decision" IN ('wait', 'go-on-without')),
  ADD COLUMN "stopped_by_us"     BOOLEAN NOT NULL DEFAULT false,
  ADD COLUMN "projection"        JSONB,
  ADD COLUMN "risks"             JSONB NOT NULL DEFAULT '[]',
  DROP COLUMN "auto_final";

CREATE TABLE "setting" (
  "key"        TEXT PRIMARY KEY,
  "value"      JSONB NOT NULL,
  "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT now()
);
