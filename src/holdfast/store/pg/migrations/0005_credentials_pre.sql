-- Application credentials, and what the Identity API keeps of users and projects besides.
create table application_credential (
    id           text primary key,
    account      text not null references account (id) on delete cascade,
    project      text not null references project (id) on delete cascade,
    name         text not null,
    description  text not null default '',
    secret_hash  text not null,
    unrestricted boolean not null default false,
    expires_at   timestamptz,
    created_at   timestamptz not null default clock_timestamp(),
    constraint application_credential_name_key unique (account, name)
);
create table application_credential_role (
    credential text not null references application_credential (id) on delete cascade,
    role       text not null references role (id) on delete cascade,
    primary key (credential, role)
);
-- A token made with one ends with it.
alter table token
    add column credential text references application_credential (id) on delete cascade;
create index token_by_account on token (account);
alter table account
    add column description text not null default '',
    add column email       text;
alter table project
    add column tags text[] not null default '{}';
