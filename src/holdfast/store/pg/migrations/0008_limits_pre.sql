-- Jobs that nobody has begun, oldest first: those that a limit keeps back are chosen from
-- here, however many wait (store.pg.admission).
create index job_unstarted on job (kind, created_at, id)
    where state = 'queued' and run_epoch is null;
