-- The schema after all migrations, written by tools/schema-dump.ts --write. Not for applying: for reviewing.

-- Columns
agent.address text
agent.certificate_not_after timestamp(3) with time zone
agent.created_at timestamp(3) with time zone not null default CURRENT_TIMESTAMP
agent.enrol_attempt integer not null default 1
agent.enrolled_at timestamp(3) with time zone
agent.id text not null
agent.moref text not null
agent.name text not null
agent.port integer not null
agent.role text not null
agent.site_id text not null
agent.spiffe_id text
agent.spki_sha256 text
agent.state text not null
agent.version text
agent.vm_migration_id text
alarm.breached_since timestamp(3) with time zone not null
alarm.cleared_at timestamp(3) with time zone
alarm.code text not null
alarm.fits_since timestamp(3) with time zone
alarm.help jsonb not null
alarm.id text not null
alarm.kind text not null
alarm.message text not null
alarm.migration_id text not null
alarm.raised_at timestamp(3) with time zone
alarm.vm_migration_id text not null
api_token.created_at timestamp(3) with time zone not null default CURRENT_TIMESTAMP
api_token.expires_at timestamp(3) with time zone
api_token.id text not null
api_token.last_used_at timestamp(3) with time zone
api_token.name text not null
api_token.revoked_at timestamp(3) with time zone
api_token.scopes text[]
api_token.sha256 text not null
audit.action text not null
audit.at timestamp(3) with time zone not null default CURRENT_TIMESTAMP
audit.details jsonb
audit.id text not null
audit.outcome text not null
audit.principal_id text not null
audit.request_id text
audit.target_id text not null
audit.target_kind text not null
cluster.configured_at timestamp(3) with time zone
cluster.created_at timestamp(3) with time zone not null default CURRENT_TIMESTAMP
cluster.failure jsonb
cluster.hosts jsonb not null default '[]'::jsonb
cluster.id text not null
cluster.moref text not null
cluster.name text not null
cluster.policy_id text
cluster.site_id text not null
cluster.state text not null
disk.background_state text not null default 'Pending'::text
disk.capacity_bytes bigint not null
disk.controller_key integer not null
disk.destination_path text
disk.destination_root text
disk.destination_uuid text
disk.device_key integer not null
disk.id text not null
disk.label text not null
disk."position" integer not null
disk.progress jsonb
disk.provisioning text not null default 'thin'::text
disk.source_path text not null
disk.source_root text
disk.source_uuid text not null
disk.unit_number integer not null
disk.vm_migration_id text not null
event.at timestamp(3) with time zone not null default CURRENT_TIMESTAMP
event.data jsonb not null
event.id bigint not null default nextval('event_id_seq'::regclass)
event.migration_id text
event.type text not null
event.vm_migration_id text
idempotency_key.claim_id uuid not null default gen_random_uuid()
idempotency_key.claimed_by bigint
idempotency_key.created_at timestamp(3) with time zone not null default CURRENT_TIMESTAMP
idempotency_key.key text not null
idempotency_key.principal_id text not null
idempotency_key.request_sha256 text not null
idempotency_key.response jsonb
idempotency_key.status integer
migration.concurrency integer not null default 1
migration.created_at timestamp(3) with time zone not null default CURRENT_TIMESTAMP
migration.destination jsonb not null
migration.ended_at timestamp(3) with time zone
migration.final jsonb not null default '{"mode": "manual", "windows": []}'::jsonb
migration.id text not null
migration.kind text not null
migration.objectives jsonb not null default '{"downtimeSecondsMax": null, "targetDurationSeconds": null}'::jsonb
migration.options jsonb not null default '{}'::jsonb
migration.paused boolean not null default false
migration.place integer
migration.priority integer not null default 3
migration.reason jsonb
migration.requested_by text not null
migration.runbook jsonb not null default '{"powerOn": [], "shutDown": []}'::jsonb
migration.settings jsonb not null
migration.started_at timestamp(3) with time zone
migration.status text not null
migration.waiting_for text
owned_object.cluster_id text
owned_object.created_at timestamp(3) with time zone not null default CURRENT_TIMESTAMP
owned_object.id text not null
owned_object.kind text not null
owned_object.moref text
owned_object.name text not null
owned_object.released_at timestamp(3) with time zone
owned_object.site_id text not null
owned_object.vm_migration_id text
progress_sample.at timestamp(3) with time zone not null
progress_sample.background_bytes_per_second double precision not null
progress_sample.copied_bytes bigint not null
progress_sample.dirty_bytes bigint not null
progress_sample.foreground_bytes_per_second double precision not null
progress_sample.incoming_bytes_per_second double precision not null
progress_sample.remaining_bytes bigint not null
progress_sample.sent_bytes bigint not null
progress_sample.vm_migration_id text not null
progress_sample.wire_bytes bigint not null
progress_sample.wire_bytes_per_second double precision not null
receipt.created_at timestamp(3) with time zone not null default CURRENT_TIMESTAMP
receipt.document text not null
receipt.id text not null
receipt.vm_migration_id text not null
setting.key text not null
setting.updated_at timestamp(3) with time zone not null default now()
setting.value jsonb not null
site.address text not null
site.api_version text not null
site.created_at timestamp(3) with time zone not null default CURRENT_TIMESTAMP
site.id text not null
site.instance_uuid text not null
site.name text not null
site.password_sealed text not null
site.paused_at timestamp(3) with time zone
site.product_name text not null
site.thumbprint_sha256 text not null
site.username text not null
vm_migration.announced boolean not null default true
vm_migration.approved_by text
vm_migration.created_at timestamp(3) with time zone not null default CURRENT_TIMESTAMP
vm_migration.data_path_ms integer
vm_migration.decision text
vm_migration.destination jsonb
vm_migration.destination_site_id text not null
vm_migration.dials_in_force jsonb
vm_migration.ended_at timestamp(3) with time zone
vm_migration.failure jsonb
vm_migration.final_vm_moref text
vm_migration.final_vm_name text
vm_migration.frozen_at timestamp(3) with time zone
vm_migration.guest_ready_at timestamp(3) with time zone
vm_migration.hand_over_token bigint not null default 0
vm_migration.handed_over_at timestamp(3) with time zone
vm_migration.held boolean not null default false
vm_migration.held_by_site boolean not null default false
vm_migration.id text not null
vm_migration.lease_generation integer not null default 0
vm_migration.migration_id text not null
vm_migration.paused boolean not null default false
vm_migration.place integer
vm_migration."position" integer not null
vm_migration.powered_off_at timestamp(3) with time zone
vm_migration.powered_on_at timestamp(3) with time zone
vm_migration.progress jsonb
vm_migration.projection jsonb
vm_migration.ready boolean not null default false
vm_migration.ready_at timestamp(3) with time zone
vm_migration.reason jsonb
vm_migration.risks jsonb not null default '[]'::jsonb
vm_migration.settings jsonb
vm_migration.shadow_vm_address text
vm_migration.shadow_vm_moref text
vm_migration.source_agent_id text
vm_migration.source_host_moref text
vm_migration.source_site_id text not null
vm_migration.started_at timestamp(3) with time zone
vm_migration.state text not null
vm_migration.status text not null
vm_migration.step text not null
vm_migration.stop_requested_at timestamp(3) with time zone
vm_migration.stopped_by_us boolean not null default false
vm_migration.updated_at timestamp(3) with time zone not null default CURRENT_TIMESTAMP
vm_migration.vm_instance_uuid text not null
vm_migration.vm_moref text not null
vm_migration.vm_name text not null
vm_migration.waiting_for text
vm_migration.warnings jsonb not null default '[]'::jsonb

-- Constraints
agent.agent_pkey: PRIMARY KEY (id)
agent.agent_site_id_fkey: FOREIGN KEY (site_id) REFERENCES site(id) ON UPDATE CASCADE ON DELETE CASCADE
alarm.alarm_pkey: PRIMARY KEY (id)
alarm.alarm_vm_migration_id_fkey: FOREIGN KEY (vm_migration_id) REFERENCES vm_migration(id) ON UPDATE CASCADE ON DELETE CASCADE
api_token.api_token_pkey: PRIMARY KEY (id)
audit.audit_pkey: PRIMARY KEY (id)
cluster.cluster_pkey: PRIMARY KEY (id)
cluster.cluster_site_id_fkey: FOREIGN KEY (site_id) REFERENCES site(id) ON UPDATE CASCADE ON DELETE CASCADE
disk.disk_pkey: PRIMARY KEY (id)
disk.disk_vm_migration_id_fkey: FOREIGN KEY (vm_migration_id) REFERENCES vm_migration(id) ON UPDATE CASCADE ON DELETE CASCADE
event.event_pkey: PRIMARY KEY (id)
idempotency_key.idempotency_key_pkey: PRIMARY KEY (principal_id, key)
migration.migration_concurrency_check: CHECK ((concurrency >= 1))
migration.migration_pkey: PRIMARY KEY (id)
migration.migration_priority_check: CHECK (((priority >= 1) AND (priority <= 5)))
owned_object.owned_object_pkey: PRIMARY KEY (id)
owned_object.owned_object_site_id_fkey: FOREIGN KEY (site_id) REFERENCES site(id) ON UPDATE CASCADE ON DELETE CASCADE
owned_object.owned_object_vm_migration_id_fkey: FOREIGN KEY (vm_migration_id) REFERENCES vm_migration(id) ON UPDATE CASCADE ON DELETE CASCADE
progress_sample.progress_sample_pkey: PRIMARY KEY (vm_migration_id, at)
receipt.receipt_pkey: PRIMARY KEY (id)
receipt.receipt_vm_migration_id_fkey: FOREIGN KEY (vm_migration_id) REFERENCES vm_migration(id) ON UPDATE CASCADE ON DELETE CASCADE
setting.setting_pkey: PRIMARY KEY (key)
site.site_pkey: PRIMARY KEY (id)
vm_migration.vm_migration_decision_check: CHECK ((decision = ANY (ARRAY['wait'::text, 'go-on-without'::text])))
vm_migration.vm_migration_migration_id_fkey: FOREIGN KEY (migration_id) REFERENCES migration(id) ON UPDATE CASCADE ON DELETE CASCADE
vm_migration.vm_migration_pkey: PRIMARY KEY (id)

-- Indexes
CREATE INDEX agent_vm_migration_id_idx ON public.agent USING btree (vm_migration_id)
CREATE INDEX alarm_cleared_at_idx ON public.alarm USING btree (cleared_at)
CREATE INDEX audit_at_idx ON public.audit USING btree (at DESC)
CREATE INDEX audit_target_id_idx ON public.audit USING btree (target_id)
CREATE INDEX event_at_idx ON public.event USING btree (at)
CREATE INDEX event_vm_migration_id_idx ON public.event USING btree (vm_migration_id)
CREATE INDEX migration_created_at_idx ON public.migration USING btree (created_at DESC)
CREATE INDEX owned_object_site_id_released_at_idx ON public.owned_object USING btree (site_id, released_at)
CREATE INDEX owned_object_vm_migration_id_idx ON public.owned_object USING btree (vm_migration_id)
CREATE INDEX vm_migration_held_by_site ON public.vm_migration USING btree (id) WHERE held_by_site
CREATE INDEX vm_migration_source_site_id_vm_instance_uuid_idx ON public.vm_migration USING btree (source_site_id, vm_instance_uuid)
CREATE INDEX vm_migration_unannounced ON public.vm_migration USING btree (migration_id) WHERE (NOT announced)
CREATE UNIQUE INDEX agent_pkey ON public.agent USING btree (id)
CREATE UNIQUE INDEX agent_site_id_role_moref_key ON public.agent USING btree (site_id, role, moref)
CREATE UNIQUE INDEX alarm_open_key ON public.alarm USING btree (vm_migration_id, kind, code) WHERE (cleared_at IS NULL)
CREATE UNIQUE INDEX alarm_pkey ON public.alarm USING btree (id)
CREATE UNIQUE INDEX api_token_pkey ON public.api_token USING btree (id)
CREATE UNIQUE INDEX api_token_sha256_key ON public.api_token USING btree (sha256)
CREATE UNIQUE INDEX audit_pkey ON public.audit USING btree (id)
CREATE UNIQUE INDEX cluster_pkey ON public.cluster USING btree (id)
CREATE UNIQUE INDEX cluster_site_id_moref_key ON public.cluster USING btree (site_id, moref)
CREATE UNIQUE INDEX disk_pkey ON public.disk USING btree (id)
CREATE UNIQUE INDEX disk_vm_migration_id_source_uuid_key ON public.disk USING btree (vm_migration_id, source_uuid)
CREATE UNIQUE INDEX event_pkey ON public.event USING btree (id)
CREATE UNIQUE INDEX idempotency_key_pkey ON public.idempotency_key USING btree (principal_id, key)
CREATE UNIQUE INDEX migration_pkey ON public.migration USING btree (id)
CREATE UNIQUE INDEX owned_object_pkey ON public.owned_object USING btree (id)
CREATE UNIQUE INDEX progress_sample_pkey ON public.progress_sample USING btree (vm_migration_id, at)
CREATE UNIQUE INDEX receipt_pkey ON public.receipt USING btree (id)
CREATE UNIQUE INDEX receipt_vm_migration_id_key ON public.receipt USING btree (vm_migration_id)
CREATE UNIQUE INDEX setting_pkey ON public.setting USING btree (key)
CREATE UNIQUE INDEX site_instance_uuid_key ON public.site USING btree (instance_uuid)
CREATE UNIQUE INDEX site_name_key ON public.site USING btree (name)
CREATE UNIQUE INDEX site_pkey ON public.site USING btree (id)
CREATE UNIQUE INDEX vm_migration_active_key ON public.vm_migration USING btree (source_site_id, vm_instance_uuid) WHERE (ended_at IS NULL)
CREATE UNIQUE INDEX vm_migration_migration_id_position_key ON public.vm_migration USING btree (migration_id, "position")
CREATE UNIQUE INDEX vm_migration_pkey ON public.vm_migration USING btree (id)
