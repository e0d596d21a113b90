-- What API nodes shall serve. Each reads all of it, again and again, and has it on its own disk.
-- What is deleted stays a while as a row: only a row says that something is to go, never its lack.
create table serving_generation (
    id         uuid primary key,
    project    text not null,
    url        text not null,                      -- any web server; the nodes fetch it
    sha256     text not null,                      -- of the package, as it is fetched
    created_at timestamptz not null default clock_timestamp(),
    deleted_at timestamptz
);

create table serving_service (
    id         uuid primary key,
    project    text not null,
    name       text not null,
    generation uuid not null references serving_generation (id),
    next       uuid references serving_generation (id),  -- what is rolled out, if anything
    moved      uuid[] not null default '{}',       -- the nodes that shall have it already
    rollout    text not null,                      -- which operation wrote this
    failure    text,                               -- why that one was rolled back
    zones      text[] not null,                    -- none: all
    keys       jsonb not null,                     -- SHA-256 of further query keys -> name
    created_at timestamptz not null default clock_timestamp(),
    deleted_at timestamptz
);
create unique index serving_service_name on serving_service (name) where deleted_at is null;

-- What a node has last said of itself; of this incarnation of it, if the epoch is the member's.
create table serving_actual (
    node  uuid primary key,
    epoch bigint not null,
    state jsonb not null,
    at    timestamptz not null default clock_timestamp()
) with (fillfactor = 50);
