"""Templates as users write them, for the clients of others."""

from __future__ import annotations

from pathlib import Path

APP = """\
heat_template_version: 2021-04-16
description: an application without a cloud
parameters:
  size: {type: number, default: 2}
  password: {type: string, hidden: true}
resources:
  first:
    type: OS::Heat::TestResource
    properties: {value: {get_param: size}}
  name:
    type: OS::Heat::RandomString
    depends_on: first
  group:
    type: OS::Heat::ResourceGroup
    properties:
      count: {get_param: size}
      resource_def: {type: member.yaml, properties: {of: {get_resource: name}}}
outputs:
  name: {description: its name, value: {get_attr: [name, value]}}
  members: {value: {get_attr: [group, said]}}
"""
MEMBER = """\
heat_template_version: 2021-04-16
parameters:
  of: {type: string}
resources:
  says:
    type: OS::Heat::Value
    properties: {value: {str_replace: {template: I am of $of, params: {$of: {get_param: of}}}}}
outputs:
  said: {value: {get_attr: [says, value]}}
"""
ENVIRONMENT = """\
parameters:
  password: swordfish
parameter_defaults:
  size: 3
"""
WAITS = """\
heat_template_version: 2021-04-16
resources:
  handle: {type: OS::Heat::WaitConditionHandle}
  condition:
    type: OS::Heat::WaitCondition
    properties: {handle: {get_resource: handle}, timeout: 120}
outputs:
  said: {value: {get_attr: [condition, data]}}
  url: {value: {get_attr: [handle, endpoint]}}
  token: {value: {get_attr: [handle, token]}}
"""
SLOW = """\
heat_template_version: 2021-04-16
parameters:
  wait: {type: number, default: 0}
  value: {type: string, default: a}
resources:
  slow:
    type: OS::Heat::TestResource
    properties:
      value: {get_param: value}
      action_wait_secs: {update: {get_param: wait}}
"""
FAILS = """\
heat_template_version: 2021-04-16
resources:
  bad: {type: OS::Heat::TestResource, properties: {fail: true}}
"""


def write(folder: Path) -> None:
    """Each as a file of its name."""
    for name, text in (
        ("app", APP),
        ("member", MEMBER),
        ("env", ENVIRONMENT),
        ("waits", WAITS),
        ("slow", SLOW),
        ("fails", FAILS),
    ):
        (folder / f"{name}.yaml").write_text(text)
