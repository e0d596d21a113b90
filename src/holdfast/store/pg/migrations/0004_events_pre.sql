-- What happened and who did it: one log of everything that changed (architecture.md, "Events").
--
-- A reader's position is (txid, id). Ids are handed out before the commit, so they alone would
-- let a reader pass a row that is not committed yet; with the transaction's id in front it can
-- stop at the oldest transaction that may still be running, and misses nothing.
create table event (
    txid        xid8 not null default pg_current_xact_id(),
    id          bigint generated always as identity,
    at          timestamptz not null default clock_timestamp(),
    kind        text not null,               -- node.provision_state, job.ended, audit.user.create
    result      text,                        -- how it ended, where it could have ended otherwise
    user_id     text,                        -- who asked for it, if a user did
    actor       text,                        -- the same for people: user@project
    project     text,                        -- in whose project the user acted
    request     text,                        -- the request's id, as the client saw it
    object_kind text,
    object_id   text,
    object_name text,
    projects    text[] not null default '{}',  -- whose members may see it, beside the operators
    member      uuid,                        -- which process did it, in which incarnation or claim
    epoch       bigint,
    data        jsonb not null default '{}',
    primary key (txid, id)
);
create index event_by_object on event (object_kind, object_id, txid, id);
