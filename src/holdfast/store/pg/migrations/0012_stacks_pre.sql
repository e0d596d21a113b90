-- Stacks: what they are to be, what there is of them, and what happened to them.

-- On whose behalf a stack's deferred work is done. Names people, never credentials.
create table delegation (
    id           uuid primary key,
    user_id      text not null,
    user_name    text not null,
    project_id   text not null,
    project_name text not null,
    roles        text[] not null default '{}',
    created_at   timestamptz not null default clock_timestamp(),
    revoked_at   timestamptz
);
create index delegation_of_user on delegation (user_id) where revoked_at is null;

-- What a stack is to be; never changed. Values of hidden parameters are in the environment.
create table stack_source (
    id          uuid primary key,
    stack       uuid not null,
    template    json not null,                     -- as it was given, its order kept
    files       json not null default '{}',
    environment bytea not null,                    -- JSON, sealed under the master key
    description text not null default '',          -- of the template, for lists
    created_at  timestamptz not null default clock_timestamp()
);
create index stack_source_stack on stack_source (stack);

create table stack (
    id          uuid primary key,
    name        text not null,
    project     text not null,
    source      uuid not null,
    action      text not null,
    status      text not null,
    reason      text not null default '',
    traversal   integer not null default 0,
    stopped     integer not null default 0,
    previous    uuid,
    rollback    boolean not null default false,
    convergence boolean not null default true,
    timeout_s   float8 not null,
    deadline    timestamptz,
    root        uuid not null,
    depth       integer not null default 0,
    owner       uuid,                              -- the resource that it is the body of
    tell        uuid,
    around      integer not null default 0,        -- the traversal around it that it belongs to
    tags        text[] not null default '{}',
    delegation  uuid references delegation (id),   -- null: its root's
    created_at  timestamptz not null default clock_timestamp(),
    updated_at  timestamptz,
    deleted_at  timestamptz,
    constraint stack_root_or_nested check ((owner is null) = (delegation is not null))
);
create unique index stack_name_once on stack (project, name)
    where deleted_at is null and owner is null;
create index stack_of_project on stack (project, created_at desc, id);
create index stack_by_name on stack (project, name);
create index stack_by_root on stack (root) where owner is not null;
create index stack_by_owner on stack (owner) where owner is not null;
create index stack_in_progress on stack (deadline) where status = 'IN_PROGRESS';
create index stack_deleted on stack (deleted_at) where deleted_at is not null;

create table stack_resource (
    id              uuid primary key,
    stack           uuid not null,
    name            text not null,
    type            text not null,
    action          text not null default 'INIT',
    status          text not null default 'COMPLETE',
    reason          text not null default '',
    physical_id     text,
    source          uuid,
    traversal       integer not null default 0,
    properties      jsonb not null default '{}',
    attributes      jsonb not null default '{}',
    metadata        jsonb not null default '{}',
    data            jsonb not null default '{}',
    sealed          bytea,                         -- those of properties, attributes, data that are secret
    requires        uuid[] not null default '{}',
    replaces        uuid,
    deletion_policy text not null default 'Delete',
    created_at      timestamptz not null default clock_timestamp(),
    updated_at      timestamptz
);
create index stack_resource_stack on stack_resource (stack, name);
create index stack_resource_physical on stack_resource (physical_id) where physical_id is not null;
create index stack_resource_failed on stack_resource (stack) where status = 'FAILED';

-- In the order in which they can be seen: see stacks.service.events.
create table stack_event (
    id          uuid primary key,
    stack       uuid not null,
    resource    uuid,                              -- null: of the stack itself
    name        text not null,
    type        text not null,
    physical_id text,
    action      text not null,
    status      text not null,
    reason      text not null default '',
    at          timestamptz not null default clock_timestamp(),
    txid        bigint not null default pg_current_xact_id()::text::bigint,
    seq         bigint generated always as identity
);
create index stack_event_stack on stack_event (stack, txid, seq);
create index stack_event_txid on stack_event using brin (txid);

-- What was signalled to a resource.
create table stack_signal (
    id       uuid primary key,
    resource uuid not null references stack_resource (id) on delete cascade,
    payload  jsonb not null default '{}',
    at       timestamptz not null default clock_timestamp(),
    seq      bigint generated always as identity
);
create index stack_signal_resource on stack_signal (resource, seq);

-- Rows live through a dozen versions in seconds.
alter table stack_resource
    set (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
alter table stack_event
    set (autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.05);
