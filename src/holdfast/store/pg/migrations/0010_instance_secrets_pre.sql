-- The secret half of instance_info (config drives above all), sealed under the master key.
alter table node add column instance_secrets bytea;

-- When provision_state last changed, whoever changes it and however.
create function node_provision_updated() returns trigger language plpgsql as $$
begin
    new.provision_updated_at := clock_timestamp();
    return new;
end $$;
create trigger node_provision_updated before update of provision_state on node for each row
    when (new.provision_state is distinct from old.provision_state
          and new.provision_updated_at is not distinct from old.provision_updated_at)
    execute function node_provision_updated();
