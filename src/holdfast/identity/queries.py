"""The SQL of identity, in one place and readable as SQL."""

from __future__ import annotations

# ruff: noqa: S105  # statements about tokens and passwords, none of them a secret

# A token counts only while its user and project are enabled and, if it is
# scoped, some role in its scope still stands: a role taken away ends the token.
TOKEN_BY_HASH = """
select t.audit_id, t.methods, t.system,
       t.issued_at, t.expires_at,
       extract(epoch from t.expires_at - clock_timestamp())::float8 as expires_in_s,
       a.id as user_id, a.name as user_name, p.id as project_id, p.name as project_name,
       array(select r.name from role_grant g join role r on r.id = g.role
              where g.account = t.account
                and (g.project = t.project or (t.system and g.project is null))) as roles
  from token t
  join account a on a.id = t.account
  left join project p on p.id = t.project
 where t.hash = $1 and t.expires_at > clock_timestamp()
   and a.enabled and (t.project is null or p.enabled)
"""

# $7: seconds to live; $8: when the token it was made from ends, or null.
INSERT_TOKEN = """
insert into token (hash, audit_id, account, project, system, methods, issued_at, expires_at)
values ($1, $2, $3, $4, $5, $6, clock_timestamp(),
        case when $8::timestamptz is null then clock_timestamp() + make_interval(secs => $7::float8)
             else $8::timestamptz end)
"""

DELETE_TOKEN = "delete from token where hash = $1 returning account"
DELETE_TOKENS_OF_USER = "delete from token where account = $1"
PURGE_TOKENS = """
delete from token where hash in
    (select hash from token where expires_at < clock_timestamp() limit $1 for update skip locked)
returning 1
"""

USER_BY_ID = "select id, name, enabled, default_project, password_hash from account where id = $1"
USER_BY_NAME = """
select id, name, enabled, default_project, password_hash from account where name = $1
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
select id, name, enabled, default_project from account
 where ($1::text is null or name = $1) and ($2::boolean is null or enabled = $2) order by name
"""
INSERT_USER = """
insert into account (id, name, password_hash, enabled, default_project)
values ($1, $2, $3, $4, $5) on conflict (name) do nothing
returning id, name, enabled, default_project
"""
UPDATE_USER = """
update account set name = coalesce($2, name), enabled = coalesce($3, enabled),
       default_project = coalesce($4, default_project),
       password_hash = coalesce($5, password_hash)
 where id = $1 returning id, name, enabled, default_project
"""
DELETE_USER = "delete from account where id = $1 returning id"

PROJECT_BY_ID = "select id, name, enabled, description from project where id = $1"
PROJECT_BY_NAME = "select id, name, enabled, description from project where name = $1"
PROJECTS = """
select id, name, enabled, description from project
 where ($1::text is null or name = $1) and ($2::boolean is null or enabled = $2) order by name
"""
PROJECTS_OF_USER = """
select p.id, p.name, p.enabled, p.description from project p
 where p.enabled and exists (select from role_grant g where g.project = p.id and g.account = $1)
 order by p.name
"""
INSERT_PROJECT = """
insert into project (id, name, enabled, description) values ($1, $2, $3, $4)
on conflict (name) do nothing returning id, name, enabled, description
"""
UPDATE_PROJECT = """
update project set name = coalesce($2, name), enabled = coalesce($3, enabled),
       description = coalesce($4, description)
 where id = $1 returning id, name, enabled, description
"""
FORGET_DEFAULT_PROJECT = "update account set default_project = null where default_project = $1"
DELETE_PROJECT = "delete from project where id = $1 returning id"

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
delete from role_grant where account = $1 and project is not distinct from $2 and role = $3
returning 1
"""

# Somebody who can still administer everything: then bootstrap has nothing to do.
ADMINISTRATORS = """
select count(*) from role_grant g join role r on r.id = g.role
  join account a on a.id = g.account and a.enabled
  left join project p on p.id = g.project
 where r.name = 'admin' and (g.project is null or p.name = 'admin')
"""
BOOTSTRAP_LOCK = "select pg_advisory_xact_lock(hashtext('holdfast.identity.bootstrap'))"
