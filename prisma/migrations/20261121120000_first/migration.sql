-- The first records: sites, clusters, agents, migrations, what we own, progress, receipts, audit.
-- CreateTable
CREATE TABLE "site" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "address" TEXT NOT NULL,
    "username" TEXT NOT NULL,
    "password_sealed" TEXT NOT NULL,
    "thumbprint_sha256" TEXT NOT NULL,
    "instance_uuid" TEXT NOT NULL,
    "api_version" TEXT NOT NULL,
    "product_name" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "site_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "cluster" (
    "id" TEXT NOT NULL,
    "site_id" TEXT NOT NULL,
    "moref" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "failure" JSONB,
    "policy_id" TEXT,
    "hosts" JSONB NOT NULL DEFAULT '[]',
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "configured_at" TIMESTAMPTZ(3),

    CONSTRAINT "cluster_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "agent" (
    "id" TEXT NOT NULL,
    "site_id" TEXT NOT NULL,
    "role" TEXT NOT NULL,
    "moref" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "address" TEXT,
    "port" INTEGER NOT NULL,
    "vm_migration_id" TEXT,
    "state" TEXT NOT NULL,
    "enrol_attempt" INTEGER NOT NULL DEFAULT 1,
    "spiffe_id" TEXT,
    "spki_sha256" TEXT,
    "version" TEXT,
    "certificate_not_after" TIMESTAMPTZ(3),
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "enrolled_at" TIMESTAMPTZ(3),

    CONSTRAINT "agent_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "migration" (
    "id" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "status" TEXT NOT NULL,
    "auto_final" BOOLEAN NOT NULL,
    "destination" JSONB NOT NULL,
    "options" JSONB NOT NULL DEFAULT '{}',
    "settings" JSONB NOT NULL,
    "requested_by" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "started_at" TIMESTAMPTZ(3),
    "ended_at" TIMESTAMPTZ(3),

    CONSTRAINT "migration_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "vm_migration" (
    "id" TEXT NOT NULL,
    "migration_id" TEXT NOT NULL,
    "position" INTEGER NOT NULL,
    "source_site_id" TEXT NOT NULL,
    "vm_moref" TEXT NOT NULL,
    "vm_instance_uuid" TEXT NOT NULL,
    "vm_name" TEXT NOT NULL,
    "destination_site_id" TEXT NOT NULL,
    "auto_final" BOOLEAN NOT NULL,
    "status" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "step" TEXT NOT NULL,
    "reason" JSONB,
    "waiting_for" TEXT,
    "failure" JSONB,
    "warnings" JSONB NOT NULL DEFAULT '[]',
    "settings" JSONB,
    "dials_in_force" JSONB,
    "lease_generation" INTEGER NOT NULL DEFAULT 0,
    "hand_over_token" BIGINT NOT NULL DEFAULT 0,
    "progress" JSONB,
    "ready" BOOLEAN NOT NULL DEFAULT false,
    "approved_by" TEXT,
    "source_agent_id" TEXT,
    "shadow_vm_moref" TEXT,
    "shadow_vm_address" TEXT,
    "final_vm_name" TEXT,
    "final_vm_moref" TEXT,
    "data_path_ms" INTEGER,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "started_at" TIMESTAMPTZ(3),
    "ready_at" TIMESTAMPTZ(3),
    "stop_requested_at" TIMESTAMPTZ(3),
    "powered_off_at" TIMESTAMPTZ(3),
    "frozen_at" TIMESTAMPTZ(3),
    "handed_over_at" TIMESTAMPTZ(3),
    "powered_on_at" TIMESTAMPTZ(3),
    "guest_ready_at" TIMESTAMPTZ(3),
    "ended_at" TIMESTAMPTZ(3),
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "vm_migration_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "disk" (
    "id" TEXT NOT NULL,
    "vm_migration_id" TEXT NOT NULL,
    "position" INTEGER NOT NULL,
    "label" TEXT NOT NULL,
    "source_uuid" TEXT NOT NULL,
    "source_path" TEXT NOT NULL,
    "device_key" INTEGER NOT NULL,
    "controller_key" INTEGER NOT NULL,
    "unit_number" INTEGER NOT NULL,
    "capacity_bytes" BIGINT NOT NULL,
    "provisioning" TEXT NOT NULL DEFAULT 'thin',
    "destination_uuid" TEXT,
    "destination_path" TEXT,
    "background_state" TEXT NOT NULL DEFAULT 'Pending',
    "progress" JSONB,
    "source_root" TEXT,
    "destination_root" TEXT,

    CONSTRAINT "disk_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "owned_object" (
    "id" TEXT NOT NULL,
    "site_id" TEXT NOT NULL,
    "vm_migration_id" TEXT,
    "cluster_id" TEXT,
    "kind" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "moref" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "released_at" TIMESTAMPTZ(3),

    CONSTRAINT "owned_object_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "progress_sample" (
    "vm_migration_id" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,
    "copied_bytes" BIGINT NOT NULL,
    "remaining_bytes" BIGINT NOT NULL,
    "dirty_bytes" BIGINT NOT NULL,
    "sent_bytes" BIGINT NOT NULL,
    "wire_bytes" BIGINT NOT NULL,
    "background_bytes_per_second" DOUBLE PRECISION NOT NULL,
    "foreground_bytes_per_second" DOUBLE PRECISION NOT NULL,
    "incoming_bytes_per_second" DOUBLE PRECISION NOT NULL,
    "wire_bytes_per_second" DOUBLE PRECISION NOT NULL,

    CONSTRAINT "progress_sample_pkey" PRIMARY KEY ("vm_migration_id","at")
);

-- CreateTable
CREATE TABLE "receipt" (
    "id" TEXT NOT NULL,
    "vm_migration_id" TEXT NOT NULL,
    "document" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "receipt_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "audit" (
    "id" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "principal_id" TEXT NOT NULL,
    "action" TEXT NOT NULL,
    "target_kind" TEXT NOT NULL,
    "target_id" TEXT NOT NULL,
    "request_id" TEXT,
    "outcome" TEXT NOT NULL,
    "details" JSONB,

    CONSTRAINT "audit_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "api_token" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "sha256" TEXT NOT NULL,
    "scopes" TEXT[],
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(3),
    "revoked_at" TIMESTAMPTZ(3),
    "last_used_at" TIMESTAMPTZ(3),

    CONSTRAINT "api_token_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "idempotency_key" (
    "principal_id" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "request_sha256" TEXT NOT NULL,
    "status" INTEGER,
    "response" JSONB,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "idempotency_key_pkey" PRIMARY KEY ("principal_id","key")
);

-- CreateTable
CREATE TABLE "event" (
    "id" BIGSERIAL NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "type" TEXT NOT NULL,
    "migration_id" TEXT,
    "vm_migration_id" TEXT,
    "data" JSONB NOT NULL,

    CONSTRAINT "event_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "site_name_key" ON "site"("name");

-- CreateIndex
CREATE UNIQUE INDEX "site_instance_uuid_key" ON "site"("instance_uuid");

-- CreateIndex
CREATE UNIQUE INDEX "cluster_site_id_moref_key" ON "cluster"("site_id", "moref");

-- CreateIndex
CREATE INDEX "agent_vm_migration_id_idx" ON "agent"("vm_migration_id");

-- CreateIndex
CREATE UNIQUE INDEX "agent_site_id_role_moref_key" ON "agent"("site_id", "role", "moref");

-- CreateIndex
CREATE INDEX "migration_created_at_idx" ON "migration"("created_at" DESC);

-- CreateIndex
CREATE INDEX "vm_migration_source_site_id_vm_instance_uuid_idx" ON "vm_migration"("source_site_id", "vm_instance_uuid");

-- CreateIndex
CREATE UNIQUE INDEX "vm_migration_migration_id_position_key" ON "vm_migration"("migration_id", "position");

-- CreateIndex
CREATE UNIQUE INDEX "disk_vm_migration_id_source_uuid_key" ON "disk"("vm_migration_id", "source_uuid");

-- CreateIndex
CREATE INDEX "owned_object_vm_migration_id_idx" ON "owned_object"("vm_migration_id");

-- CreateIndex
CREATE INDEX "owned_object_site_id_released_at_idx" ON "owned_object"("site_id", "released_at");

-- CreateIndex
CREATE UNIQUE INDEX "receipt_vm_migration_id_key" ON "receipt"("vm_migration_id");

-- CreateIndex
CREATE INDEX "audit_at_idx" ON "audit"("at" DESC);

-- CreateIndex
CREATE INDEX "audit_target_id_idx" ON "audit"("target_id");

-- CreateIndex
CREATE UNIQUE INDEX "api_token_sha256_key" ON "api_token"("sha256");

-- CreateIndex
CREATE INDEX "event_vm_migration_id_idx" ON "event"("vm_migration_id");

-- CreateIndex
CREATE INDEX "event_at_idx" ON "event"("at");

-- AddForeignKey
ALTER TABLE "cluster" ADD CONSTRAINT "cluster_site_id_fkey" FOREIGN KEY ("site_id") REFERENCES "site"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "agent" ADD CONSTRAINT "agent_site_id_fkey" FOREIGN KEY ("site_id") REFERENCES "site"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "vm_migration" ADD CONSTRAINT "vm_migration_migration_id_fkey" FOREIGN KEY ("migration_id") REFERENCES "migration"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "disk" ADD CONSTRAINT "disk_vm_migration_id_fkey" FOREIGN KEY ("vm_migration_id") REFERENCES "vm_migration"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "owned_object" ADD CONSTRAINT "owned_object_site_id_fkey" FOREIGN KEY ("site_id") REFERENCES "site"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "owned_object" ADD CONSTRAINT "owned_object_vm_migration_id_fkey" FOREIGN KEY ("vm_migration_id") REFERENCES "vm_migration"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "receipt" ADD CONSTRAINT "receipt_vm_migration_id_fkey" FOREIGN KEY ("vm_migration_id") REFERENCES "vm_migration"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- A VM takes part in at most one migration at a time: the second start is refused by the database.
CREATE UNIQUE INDEX "vm_migration_active_key" ON "vm_migration"("source_site_id", "vm_instance_uuid") WHERE "ended_at" IS NULL;
