-- Secrets of the deployment itself, sealed by the master key like all others.
create table deployment_secret (
    name   text primary key,
    sealed bytea not null
);
-- Which master keys each process has read: a rotation goes on only when all can follow it.
create table key_report (
    member      uuid primary key references member (id) on delete cascade,
    epoch       bigint not null,
    current_key text not null,
    known_keys  text[] not null,
    reported_at timestamptz not null default clock_timestamp()
);
