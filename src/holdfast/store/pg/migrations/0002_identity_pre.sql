-- Projects, users, roles and tokens (compat.md, "Identity").
create table project (
    id          text primary key,
    name        text not null unique,
    enabled     boolean not null default true,
    description text not null default '',
    created_at  timestamptz not null default clock_timestamp()
);
create table account (
    id            text primary key,
    name          text not null unique,
    password_hash text not null,
    enabled       boolean not null default true,
    default_project text references project (id),
    created_at    timestamptz not null default clock_timestamp()
);
create table role (
    id   text primary key,
    name text not null unique
);
-- A role of a user in a project, or in the whole system (project is null).
create table role_grant (
    account text not null references account (id) on delete cascade,
    project text references project (id) on delete cascade,
    role    text not null references role (id) on delete cascade
);
create unique index role_grant_once on role_grant (account, coalesce(project, ''), role);
create table token (
    hash       bytea primary key,
    audit_id   text not null,
    account    text not null references account (id) on delete cascade,
    project    text references project (id) on delete cascade,
    system     boolean not null default false,
    methods    text[] not null,
    issued_at  timestamptz not null,
    expires_at timestamptz not null
);
create index token_expiry on token (expires_at);
