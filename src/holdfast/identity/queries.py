"""The SQL of identity, in one place and readable as SQL."""

from __future__ import annotations

# ruff: noqa: S105  # statements about tokens and passwords, none of them a secret

# A token counts only while its user and project are enabled and, if it is
# scoped, some role in its scope still stands: a role taken away ends the token. One made
# with an application credential ends with that, and has none but the credential's roles.
TOKEN_BY_HASH = """
select t.audit_id, t.methods, t.system,
       t.issued_at, t.expires_at,
       extract(epoch from t.expires_at - clock_timestamp())::float8 as expires_in_s,
       a.id as user_id, a.name as user_name, p.id as project_id, p.name as project_name,
       c.id as credential_id, c.name as credential_name, c.unrestricted,
       array(select r.name from role_grant g join role r on r.id = g.role
              where g.account = t.account
                and (g.project = t.project or (t.system and g.project is null))) as roles,
       array(select r.name from application_credential_role cr join role r on r.id = cr.role
              where cr.credential = t.credential) as credential_roles
  from token t
  join account a on a.id = t.account
  left join project p on p.id = t.project
  left join application_credential c on c.id = t.credential
 where t.hash = $1 and t.expires_at > clock_timestamp()
   and a.enabled and (t.project is null or p.enabled)
"""

# $7: seconds to live; $8: when the token it was made from ends, or null; $9: the application
# credential it was made with, which it does not outlive.
INSERT_TOKEN = """
insert into token (hash, audit_id, account, project, system, methods, issued_at, expires_at,
                   credential)
select $1, $2, $3, $4, $5, $6, clock_timestamp(),
       coalesce($8::timestamptz, least(
           clock_timestamp() + make_interval(secs => $7::float8),
           (select expires_at from application_credential where id = $9))),
       $9
"""

DELETE_TOKEN = "delete from token where hash = $1 returning account, audit_id"
DELETE_TOKENS_OF_USER = "delete from token where account = $1"
PURGE_TOKENS = """
delete from token where hash in
    (select hash from token where expires_at < clock_timestamp() limit $1 for update skip locked)
returning 1
"""

USER_BY_ID = """
select id, name, enabled, default_project, description, email, password_hash
  from account where id = $1
"""
USER_BY_NAME = """
select id, name, enabled, default_project, description, email, password_hash
  from account where name = $1
"""
ROLES_IN_PROJECT = """
select r.id, r.name from role_grant g join role r on r.id = g.role
 where g.account = $1 and g.project = $2 order by r.name
"""
ROLES_IN_SYSTEM = """
select r.id, r.name from role_grant g join role r on r.id = g.role
 where g.account = $1 and g.project is null order by r.name
"""

USERS = """
select id, name, enabled, default_project, description, email from account
 where ($1::text is null or name = $1) and ($2::boolean is null or enabled = $2) order by name
"""
INSERT_USER = """
insert into account (id, name, password_hash, enabled, default_project, description, email)
values ($1, $2, $3, $4, $5, $6, $7) on conflict (name) do nothing
returning id, name, enabled, default_project, description, email
"""
UPDATE_USER = """
update account set name = coalesce($2, name), enabled = coalesce($3, enabled),
       default_project = coalesce($4, default_project),
       password_hash = coalesce($5, password_hash),
       description = coalesce($6, description), email = coalesce($7, email)
 where id = $1 returning id, name, enabled, default_project, description, email
"""
DELETE_USER = "delete from account where id = $1 returning id, name"

PROJECT_BY_ID = "select id, name, enabled, description, tags from project where id = $1"
PROJECT_BY_NAME = "select id, name, enabled, description, tags from project where name = $1"
PROJECTS = """
select id, name, enabled, description, tags from project
 where ($1::text is null or name = $1) and ($2::boolean is null or enabled = $2)
   and ($3::text[] is null or tags @> $3) order by name
"""
PROJECTS_OF_USER = """
select p.id, p.name, p.enabled, p.description, p.tags from project p
 where p.enabled and exists (select from role_grant g where g.project = p.id and g.account = $1)
 order by p.name
"""
INSERT_PROJECT = """
insert into project (id, name, enabled, description, tags) values ($1, $2, $3, $4, $5)
on conflict (name) do nothing returning id, name, enabled, description, tags
"""
UPDATE_PROJECT = """
update project set name = coalesce($2, name), enabled = coalesce($3, enabled),
       description = coalesce($4, description), tags = coalesce($5, tags)
 where id = $1 returning id, name, enabled, description, tags
"""
FORGET_DEFAULT_PROJECT = "update account set default_project = null where default_project = $1"
DELETE_PROJECT = "delete from project where id = $1 returning id"

CREDENTIALS = """
select c.id, c.account, c.project, c.name, c.description, c.unrestricted, c.expires_at,
       array(select r.id || ' ' || r.name from application_credential_role cr
               join role r on r.id = cr.role
              where cr.credential = c.id order by r.name) as roles
  from application_credential c
 where c.account = $1 and ($2::text is null or c.id = $2) and ($3::text is null or c.name = $3)
 order by c.name
"""
INSERT_CREDENTIAL = """
insert into application_credential
       (id, account, project, name, description, secret_hash, unrestricted, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8)
"""
INSERT_CREDENTIAL_ROLE = """
insert into application_credential_role (credential, role) values ($1, $2)
"""
DELETE_CREDENTIAL = """
delete from application_credential where account = $1 and id = $2 returning name
"""
# By id, or by name and its user's id or name.
CREDENTIAL_TO_LOG_IN = """
select c.id, c.project, c.secret_hash,
       c.expires_at is null or c.expires_at > clock_timestamp() as current,
       a.id as user_id, a.name as user_name, a.enabled, a.default_project,
       a.description, a.email
  from application_credential c join account a on a.id = c.account
 where ($1::text is not null and c.id = $1)
    or ($1::text is null and c.name = $2 and (a.id = $3 or ($3::text is null and a.name = $4)))
"""

ROLES = "select id, name from role where ($1::text is null or name = $1) order by name"
ROLE_BY_ID = "select id, name from role where id = $1"
INSERT_ROLE = "insert into role (id, name) values ($1, $2) on conflict (name) do nothing"

GRANTS = """
select g.account as user_id, a.name as user_name, g.project as project_id,
       p.name as project_name, g.role as role_id, r.name as role_name
  from role_grant g join account a on a.id = g.account join role r on r.id = g.role
  left join project p on p.id = g.project
 where ($1::text is null or g.account = $1) and ($2::text is null or g.project = $2)
   and ($3::text is null or g.role = $3) and ($4::boolean is null or (g.project is null) = $4)
 order by a.name, p.name nulls first, r.name
"""
INSERT_GRANT = """
insert into role_grant (account, project, role) values ($1, $2, $3)
on conflict (account, coalesce(project, ''), role) do nothing
"""
DELETE_GRANT = """
delete from role_grant g using account a, role r
 where g.account = $1 and g.project is not distinct from $2 and g.role = $3
   and a.id = g.account and r.id = g.role
returning a.name as user_name, r.name as role_name
"""

# Somebody who can still administer everything: then bootstrap has nothing to do.
ADMINISTRATORS = """
select count(*) from role_grant g join role r on r.id = g.role
  join account a on a.id = g.account and a.enabled
  left join project p on p.id = g.project
 where r.name = 'admin' and (g.project is null or p.name = 'admin')
"""
BOOTSTRAP_LOCK = "select pg_advisory_xact_lock(hashtext('holdfast.identity.bootstrap'))"
