-- The arguments of the steps that the node's job in hand was asked to run, sealed under the
-- master key; null once the job has ended.
alter table node add column step_secrets bytea;
