-- Members, claims, jobs, routes: the core's own tables (architecture.md, "The core's protocols").

-- One sequence for every epoch, so that member, claim and token epochs compare everywhere.
create sequence epoch_seq as bigint start 1;

-- What the reapers know of the database's own life: nobody is reaped until a
-- full lease has passed since (start time, timeline) last changed.
create table database_life (
    only_row     boolean primary key default true check (only_row),
    started_at   timestamptz not null,
    timeline     text not null,
    noticed_at   timestamptz not null
);

create table member (
    id              uuid primary key,
    role            text not null,
    slot            text not null,
    host            text not null,
    zone            text not null,
    grp             text not null,
    version         text not null,
    address         text not null,
    epoch           bigint not null unique,
    state           text not null check (state in ('up', 'draining', 'gone')),
    drain_requested boolean not null default false,
    lease_s         double precision not null check (lease_s > 0),
    lease_until     timestamptz not null,
    registered_at   timestamptz not null default clock_timestamp(),
    gone_reason     text
) with (fillfactor = 50);  -- renewed every second or two: room for it on the same page
create index member_living on member (role) where state <> 'gone';

create table shard_claim (
    grp         text not null,
    shard       integer not null check (shard >= 0),
    owner       uuid,
    incarnation bigint not null default 0,
    epoch       bigint not null default 0,
    objects     integer not null default 0 check (objects >= 0),
    since       timestamptz not null default clock_timestamp(),
    previous    uuid,
    primary key (grp, shard)
) with (fillfactor = 50);
create index shard_claim_owner on shard_claim (owner, incarnation);

create table job (
    id               uuid primary key,
    kind             text not null,
    object_kind      text not null,
    object_id        uuid not null,
    grp              text not null,
    shard            integer not null,
    args             jsonb not null default '{}',
    state            text not null default 'queued'
                     check (state in ('queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')),
    step             text,
    attempt          integer not null default 0,
    step_open        boolean not null default false,
    memo             jsonb not null default '{}',
    inbox            jsonb not null default '{}',
    signal_seq       bigint not null default 0,
    wake_at          timestamptz,
    deadline         timestamptz,
    cancel_requested boolean not null default false,
    run_epoch        bigint,
    attempts         integer not null default 0,
    progress_done    integer not null default 0,
    progress_total   integer not null default 0,
    progress_message text not null default '',
    result           jsonb,
    error            jsonb,
    requested_by     text not null default '',
    created_at       timestamptz not null default clock_timestamp(),
    updated_at       timestamptz not null default clock_timestamp(),
    finished_at      timestamptz
);
-- At most one job at a time has an object in hand: this is the node's reservation.
create unique index job_one_active on job (object_id)
    where state in ('queued', 'running', 'waiting');
-- What may want to run, however many jobs wait or have ended: a waiting job is there
-- from its wake_at on, any other active one (it has no wake_at) always.
create index job_due on job (coalesce(wake_at, '-infinity'::timestamptz))
    where state in ('queued', 'running', 'waiting');
create index job_newest on job (created_at desc);
create index job_by_object on job (object_id, created_at desc);

create table job_step (
    job         uuid not null references job (id) on delete cascade,
    ordinal     integer not null,
    step        text not null,
    attempt     integer not null,
    member      uuid not null,
    epoch       bigint not null,
    output      jsonb,
    finished_at timestamptz not null default clock_timestamp(),
    primary key (job, ordinal)
);

create table bmc_route (
    object_kind text not null,
    object_id   uuid not null,
    gateway     uuid not null,
    incarnation uuid not null,
    term        bigint not null,
    primary key (object_kind, object_id)
);
