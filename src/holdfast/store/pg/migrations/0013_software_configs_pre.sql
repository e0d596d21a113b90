-- Software configurations, and where they are deployed, as the Orchestration API keeps them.
create table software_config (
    id         uuid primary key,
    project    text not null,
    name       text not null,
    grp        text not null,
    config     bytea not null,                     -- config, inputs, outputs and options, sealed
    created_at timestamptz not null default clock_timestamp()
);
create index software_config_project on software_config (project, created_at, id);

create table software_deployment (
    id            uuid primary key,
    project       text not null,
    config        uuid references software_config (id),
    server        text not null,
    action        text,
    status        text,
    status_reason text,
    data          bytea not null,                  -- input and output values, sealed
    created_at    timestamptz not null default clock_timestamp(),
    updated_at    timestamptz
);
create index software_deployment_project on software_deployment (project, created_at, id);
create index software_deployment_server on software_deployment (project, server, created_at);
create index software_deployment_config on software_deployment (config);
