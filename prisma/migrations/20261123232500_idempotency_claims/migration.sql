-- Who answers a request now, so that a repeat can take over from an API process that died, under the same claim. The default
-- lets an API process of the version before go on beside a newer one.
ALTER TABLE "idempotency_key" ADD COLUMN "claim_id" UUID NOT NULL DEFAULT gen_random_uuid();
ALTER TABLE "idempotency_key" ADD COLUMN "claimed_by" BIGINT;
