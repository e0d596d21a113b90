-- Unbound jobs (architecture.md, "Jobs"): queues that any worker of them serves, graphs, reservations.
alter table job
    alter column object_kind drop not null,
    alter column object_id drop not null,
    alter column grp drop not null,
    alter column shard drop not null,
    add column queue      text,                          -- null: it is bound to an object
    add column due_at     timestamptz,                   -- its place in line: when it is, or was, due
    add column owner      uuid,                          -- the member that last ran it, as run_epoch
    add column parent     uuid,
    add column holder     uuid,                          -- the ancestor whose reservations it is under
    add column exclusive  text[] not null default '{}',
    add column shared     text[] not null default '{}',
    add column reserving  boolean not null default false,  -- its reservations are still to be queued
    add column remaining  integer not null default 0,    -- jobs with an edge to it that have not passed
    add column successors integer not null default 0,    -- its edges to others
    add column passed     boolean not null default false,  -- it has ended, and its edges are open
    add constraint job_bound_or_queued
        check ((queue is null) = (object_id is not null) and (queue is null) = (due_at is null)),
    drop constraint job_state_check,
    add constraint job_state_check
        check (state in ('blocked', 'queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled'));
update job set passed = true where state in ('succeeded', 'failed', 'cancelled');

-- What is said of bound jobs stays as small as it was: unbound ones have indices of their own.
drop index job_one_active, job_due, job_by_object, job_unstarted;
create unique index job_one_active on job (object_id)
    where state in ('queued', 'running', 'waiting') and object_id is not null;
create index job_due on job (coalesce(wake_at, '-infinity'::timestamptz))
    where state in ('queued', 'running', 'waiting') and queue is null;
create index job_by_object on job (object_id, created_at desc) where object_id is not null;
create index job_unstarted on job (kind, created_at, id)
    where state = 'queued' and run_epoch is null and queue is null;

-- What a worker may claim, in the order of the line. Timers lie beyond what is due, and
-- blocked jobs are not in it, so neither costs a claim anything.
create index job_line on job (queue, due_at, id)
    where state in ('queued', 'waiting') and queue is not null;
create index job_held on job (owner, run_epoch) where state = 'running' and queue is not null;
create index job_blocked on job (deadline) where state = 'blocked';
-- What somebody has to move on, and normally nothing: its ends are still to be passed on, or
-- its reservations to be queued.
create index job_unpassed on job (id)
    where not passed and remaining = 0 and state in ('succeeded', 'failed', 'cancelled');
create index job_reservable on job (due_at, id)
    where state = 'blocked' and reserving and remaining = 0;
create index job_finished on job (finished_at) where queue is not null and finished_at is not null;

-- pred before succ. A dependency wants pred to succeed; the others only that it ends.
create table job_edge (
    pred uuid not null,
    succ uuid not null,
    kind text not null check (kind in ('dependency', 'order', 'reservation')),
    primary key (pred, succ)
);
create index job_edge_succ on job_edge (succ);

-- The end of the queue for a resource: who comes next waits for the shared ones, or without
-- any for the exclusive one. Under the nil UUID, or under the ancestor that holds it.
create table resource_tail (
    holder    uuid not null,
    resource  text not null,
    exclusive uuid,
    primary key (holder, resource)
);
create table resource_shared (
    holder   uuid not null,
    resource text not null,
    job      uuid not null,
    primary key (holder, resource, job)
);
create index resource_shared_job on resource_shared (job);

-- A queue's rows live for seconds: their dead versions must not pile up to a fifth of the table.
alter table job set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
