"""Projects, users, roles and tokens with openstacksdk: what keystoneauth's users need of Identity.

    sdk_people.py CLOUD '{}'

Prints what it saw as one line of JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openstack  # pyright: ignore[reportMissingImports]  # there, not here

FIRST, SECOND = "the first password", "the second password"


def main(cloud: str) -> dict[str, Any]:
    """Make a project and somebody in it, act as them, remove both."""
    connection = openstack.connect(cloud=cloud)
    identity = connection.identity
    project = identity.create_project(name="sdk-people", description="made by the SDK")
    user = identity.create_user(name="sue", password=FIRST, default_project_id=project.id)
    role = identity.find_role("member", ignore_missing=False)
    identity.assign_project_role_to_user(project, user, role)
    seen = {
        "granted": identity.validate_user_has_project_role(project, user, role),
        "assignments": len(list(identity.role_assignments(user_id=user.id))),
        "project": identity.get_project(project.id).description,
        "projects": sorted(p.name for p in identity.projects()),
        "user": identity.get_user(user.id).default_project_id == project.id,
        "users": sorted(u.name for u in identity.users()),
        "roles": sorted(r.name for r in identity.roles()),
        "role": identity.get_role(role.id).name,
        **catalog(identity),
        **as_her(connection, user, project),
        "system": system_role(identity, user, role),
        "application": application_credential(connection),
    }
    identity.update_project(project, description="changed")
    seen["roles_of"] = [
        [role["name"] for role in identity.get(f"/{scope}/users/{user.id}/roles").json()["roles"]]
        for scope in (f"projects/{project.id}", "system")
    ]
    seen["changed"] = identity.get_project(project.id).description
    identity.update_user(user, is_enabled=False)
    seen["disabled"] = not identity.get_user(user.id).is_enabled
    identity.unassign_project_role_from_user(project, user, role)
    seen["taken"] = identity.validate_user_has_project_role(project, user, role)
    identity.delete_user(user)
    identity.delete_project(project)
    seen["gone"] = identity.find_user("sue") is None and identity.find_project("sdk-people") is None
    return seen


def catalog(identity: Any) -> dict[str, Any]:
    return {
        "domains": [d.id for d in identity.domains()],
        "domain": identity.get_domain("default").id,
        "services": sorted(s.type for s in identity.services()),
        "endpoints": len(list(identity.endpoints())) > 0,
        "regions": len(list(identity.regions())),
        "of_baremetal": of_baremetal(identity),
        "scopes": [
            identity.get(f"/auth/{what}").status_code
            for what in ("catalog", "projects", "system", "domains")
        ],
    }


def of_baremetal(identity: Any) -> list[bool]:
    """The service, its endpoints and their region, each found by what it is said to be."""
    (service,) = identity.services(type="baremetal")
    endpoints = list(identity.endpoints(service_id=service.id, interface="public"))
    return [
        identity.get_service(service.id).type == "baremetal",
        [identity.get_endpoint(e.id).url for e in endpoints] == [e.url for e in endpoints],
        identity.get_region(endpoints[0].region_id).id == endpoints[0].region_id,
    ]


def as_her(connection: Any, user: Any, project: Any) -> dict[str, Any]:
    """Change her password, log in with the new one, look at the token and revoke it."""
    words = {"original_password": FIRST, "password": SECOND}
    changed = connection.connect_as(
        username=user.name, password=FIRST, project_id=project.id, project_name=None
    ).identity.post(f"/users/{user.id}/password", json={"user": words})
    hers = connection.connect_as(
        username=user.name, password=SECOND, project_id=project.id, project_name=None
    )
    token = hers.auth_token
    subject = {"X-Subject-Token": token}
    identity = connection.identity
    return {
        "password": changed.status_code,
        "her_projects": [p["name"] for p in own_projects(hers, user)],
        "her_nodes": len(list(hers.baremetal.nodes())),
        "token": identity.get("/auth/tokens", headers=subject).status_code,
        "revoked": identity.delete("/auth/tokens", headers=subject).status_code,
        "token_after": identity.get("/auth/tokens", headers=subject).status_code,
    }


def own_projects(hers: Any, user: Any) -> list[dict[str, Any]]:
    return hers.identity.get(f"/users/{user.id}/projects").json()["projects"]


def application_credential(connection: Any) -> str:
    """Make one for ourselves, log in with it, remove it; or what it was refused with."""
    identity, user = connection.identity, connection.current_user_id
    try:
        made = identity.create_application_credential(user, "sdk-app")
    except openstack.exceptions.BadRequestException as error:
        return str(error)
    auth = {
        "auth_url": connection.config.auth["auth_url"],
        "application_credential_id": made.id,
        "application_credential_secret": made.secret,
    }
    app = openstack.connect(auth_type="v3applicationcredential", auth=auth, load_yaml_config=False)
    list(app.baremetal.nodes())
    listed = [c.name for c in identity.application_credentials(user)]
    name = identity.get_application_credential(user, made.id).name
    identity.delete_application_credential(user, made.id)
    return "works" if [name] == listed == ["sdk-app"] else f"{name} of {listed}"


def system_role(identity: Any, user: Any, role: Any) -> list[bool]:
    """Granted, and taken again."""
    identity.assign_system_role_to_user(user, role, "all")
    granted = identity.validate_user_has_system_role(user, role, "all")
    identity.unassign_system_role_from_user(user, role, "all")
    return [granted, identity.validate_user_has_system_role(user, role, "all")]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))  # noqa: T201
