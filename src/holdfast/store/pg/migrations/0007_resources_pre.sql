-- What else the Bare Metal API keeps (compat.md, "Bare metal"): chassis, port groups,
-- allocations, deploy templates, runbooks, and what inspection found.
create table chassis (
    uuid        uuid primary key,
    description text,
    extra       jsonb not null default '{}',
    created_at  timestamptz not null default clock_timestamp(),
    updated_at  timestamptz
);
alter table node
    add constraint node_chassis_fkey foreign key (chassis_uuid) references chassis (uuid);
create index node_by_chassis on node (chassis_uuid) where chassis_uuid is not null;

create table portgroup (
    uuid                       uuid primary key,
    node_uuid                  uuid not null references node (uuid) on delete cascade,
    name                       text,
    address                    text check (address = lower(address)),
    mode                       text not null default 'active-backup',
    properties                 jsonb not null default '{}',
    extra                      jsonb not null default '{}',
    internal_info              jsonb not null default '{}',
    standalone_ports_supported boolean not null default true,
    created_at                 timestamptz not null default clock_timestamp(),
    updated_at                 timestamptz,
    constraint portgroup_name_key unique (name),
    constraint portgroup_address_key unique (address)
);
create index portgroup_by_node on portgroup (node_uuid);
alter table port
    add constraint port_portgroup_fkey foreign key (portgroup_uuid) references portgroup (uuid);
create index port_by_portgroup on port (portgroup_uuid) where portgroup_uuid is not null;

-- The decision is the row itself: it is taken in the transaction that also marks the node.
create table allocation (
    uuid            uuid primary key,
    name            text,
    state           text not null default 'allocating'
                    check (state in ('allocating', 'active', 'error')),
    node_uuid       uuid references node (uuid) on delete cascade,
    resource_class  text,
    traits          text[] not null default '{}',
    candidate_nodes uuid[] not null default '{}',
    owner           text,
    extra           jsonb not null default '{}',
    last_error      text,
    created_at      timestamptz not null default clock_timestamp(),
    updated_at      timestamptz,
    constraint allocation_name_key unique (name),
    constraint allocation_node_key unique (node_uuid),
    check ((state = 'active') = (node_uuid is not null))
);
create index allocation_undecided on allocation (created_at) where state = 'allocating';
create index node_allocatable on node (resource_class)
    where provision_state = 'available' and instance_uuid is null;

create table deploy_template (
    uuid       uuid primary key,
    name       text not null,
    steps      jsonb not null,
    extra      jsonb not null default '{}',
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz,
    constraint deploy_template_name_key unique (name)
);

create table runbook (
    uuid            uuid primary key,
    name            text not null,
    steps           jsonb not null,
    disable_ramdisk boolean not null default false,
    extra           jsonb not null default '{}',
    public          boolean not null default false,
    owner           text,
    created_at      timestamptz not null default clock_timestamp(),
    updated_at      timestamptz,
    constraint runbook_name_key unique (name)
);

create table node_inventory (
    node_uuid   uuid primary key references node (uuid) on delete cascade,
    inventory   jsonb not null,
    plugin_data jsonb not null default '{}',
    found_at    timestamptz not null default clock_timestamp()
);
