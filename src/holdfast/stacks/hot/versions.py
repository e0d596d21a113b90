"""The template versions and what each has: functions, condition functions, features.

A version's set is the one before it with what it added, changed or dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.stacks.hot import functions_cfn as cfn
from holdfast.stacks.hot import functions_data as data
from holdfast.stacks.hot import functions_stack as stack
from holdfast.stacks.hot import functions_text as text
from holdfast.stacks.hot import yaql_bounded
from holdfast.stacks.hot.errors import VersionError
from holdfast.stacks.hot.parsing import Function, plain

VERSION_KEY = "heat_template_version"
FOREIGN_VERSION_KEYS = ("AWSTemplateFormatVersion", "HeatTemplateFormatVersion")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the language.

    ``elsewhere`` maps the functions that other versions have to a sentence for whoever uses one.
    """

    date: str
    alias: str | None
    functions: Mapping[str, Function]
    condition_functions: Mapping[str, Function]
    has_conditions: bool
    has_modulo: bool
    has_tags: bool
    deletion_policies: Mapping[str, str]
    elsewhere: Mapping[str, str] = field(default_factory=dict[str, str])


# ---- the functions, in the forms that versions gave them ----------------------------------------

CFN_FUNCTIONS: Mapping[str, Function] = {
    "Fn::GetAZs": plain(
        "A function for retrieving the availability zones.", cfn.availability_zones
    ),
    "Ref": Function("A function for resolving parameters or resource references.", stack.parse_ref),
    "Fn::Join": plain("A function for joining strings.", text.join, text.check_join),
    "Fn::Split": plain("A function for splitting strings.", cfn.split, cfn.check_split),
    "Fn::Replace": plain(
        "A function for performing string substitutions.", cfn.replace_in, cfn.check_replace
    ),
    "Fn::Base64": plain("A placeholder function for converting to base64.", cfn.base64_of),
    "Fn::MemberListToMap": plain(
        "A function to convert lists with enumerated keys and values to mapping.",
        cfn.member_list_to_map,
        cfn.check_members,
    ),
    "Fn::ResourceFacade": Function(
        "A function for retrieving data in a parent provider template.",
        stack.facade(stack.FACADE_ASPECTS_CFN),
    ),
}
SELECT: Mapping[str, Function] = {
    "Fn::Select": plain(
        "A function for selecting an item from a list or map.", cfn.select_item, cfn.check_select
    ),
}
ATTRIBUTES = "A function for resolving resource attributes."
FIRST: Mapping[str, Function] = {
    "get_param": stack.GET_PARAM,
    "get_resource": Function(
        "A function for resolving resource references.", stack.parse_get_resource
    ),
    "get_attr": Function(ATTRIBUTES, stack.get_attr(all_too=False)),
    "get_file": Function("A function for including a file inline.", stack.parse_get_file),
    "list_join": plain("A function for joining strings.", text.join, text.check_join),
    "str_replace": plain(
        "A function for performing string substitutions.", text.replace_plain, text.check_replace
    ),
    "resource_facade": Function(
        "A function for retrieving data in a parent provider template.",
        stack.facade(stack.FACADE_ASPECTS),
    ),
}
IN_2015_04_30: Mapping[str, Function] = {
    "repeat": plain(
        "A function for iterating over a list of items.", data.repeat_lists, data.check_repeat
    ),
    "digest": plain("A function for performing digest operations.", text.digest, text.check_digest),
}
IN_2015_10_15: Mapping[str, Function] = {
    "get_attr": Function(ATTRIBUTES, stack.get_attr(all_too=True)),
    "list_join": plain(
        "A function for joining one or more lists of strings.",
        text.join_multiple,
        text.check_join_multiple,
    ),
    "str_replace": plain(
        "A function for performing string substitutions.", text.replace_json, text.check_replace
    ),
    "str_split": plain(
        "A function for splitting delimited strings into a list.", text.split, text.check_split
    ),
}
IN_2016_04_08: Mapping[str, Function] = {
    "map_merge": plain("A function for merging maps.", data.map_merge, data.check_list),
}
IF = "A function to return corresponding value based on condition evaluation."
YAQL: Mapping[str, Function] = {
    "yaql": plain(
        "A function for executing a yaql expression.", yaql_bounded.evaluate, yaql_bounded.check
    ),
}
IN_2016_10_14: Mapping[str, Function] = {
    **YAQL,
    "repeat": plain(
        "A function for iterating over a list of items or a dict of keys.",
        data.repeat_maps,
        data.check_repeat,
    ),
    "map_replace": plain(
        "A function for performing substitutions on maps.",
        data.map_replace,
        data.check_map_replace,
    ),
    "if": Function(IF, stack.parse_if(nullable=False)),
}
IN_2017_02_24: Mapping[str, Function] = {
    "filter": plain(
        "A function for filtering out values from lists.", data.filter_list, data.check_filter
    ),
    "str_replace_strict": plain(
        "A function for performing string substitutions; each param must occur.",
        text.replace_strict,
        text.check_replace,
    ),
}
CONTAINS: Mapping[str, Function] = {
    "contains": plain(
        "A function for checking whether specific value is in sequence.",
        data.contains,
        data.check_contains,
    ),
}
IN_2017_09_01: Mapping[str, Function] = {
    **CONTAINS,
    "repeat": plain(
        "A function for iterating over a list of items or a dict of keys.",
        data.repeat_permutations,
        data.check_repeat,
    ),
    "make_url": plain(
        "A function for making a URL of its components.", text.make_url, text.check_url
    ),
    "list_concat": plain("A function for extending lists.", data.list_concat, data.check_list),
    "list_concat_unique": plain(
        "A function for extending lists with unique items.",
        data.list_concat_unique,
        data.check_list,
    ),
    "str_replace_vstrict": plain(
        "A function for performing string substitutions; each param must occur and have a value.",
        text.replace_very_strict,
        text.check_replace,
    ),
}
IN_2021_04_16: Mapping[str, Function] = {"if": Function(IF, stack.parse_if(nullable=True))}

FIRST_CONDITIONS: Mapping[str, Function] = {
    "get_param": stack.GET_PARAM,
    "equals": plain(
        "A function for comparing whether two values are equal.", data.equals, data.check_equals
    ),
    "not": Function("A function that acts as a NOT operator on a condition.", stack.parse_not),
    "and": Function(
        "A function that acts as an AND operator on conditions.", stack.connective(all_of=True)
    ),
    "or": Function(
        "A function that acts as an OR operator on conditions.", stack.connective(all_of=False)
    ),
}
POLICIES = {"Delete": "Delete", "Retain": "Retain", "Snapshot": "Snapshot"}
POLICIES_ANY_CASE = POLICIES | {"delete": "Delete", "retain": "Retain", "snapshot": "Snapshot"}

# ---- the versions -------------------------------------------------------------------------------

HISTORY: tuple[tuple[str, str | None, Mapping[str, Function]], ...] = (
    ("2013-05-23", None, {**CFN_FUNCTIONS, **SELECT, **FIRST}),
    ("2014-10-16", None, {}),
    ("2015-04-30", None, IN_2015_04_30),
    ("2015-10-15", None, IN_2015_10_15),
    ("2016-04-08", None, IN_2016_04_08),
    ("2016-10-14", "newton", IN_2016_10_14),
    ("2017-02-24", "ocata", IN_2017_02_24),
    ("2017-09-01", "pike", IN_2017_09_01),
    ("2018-03-02", "queens", {}),
    ("2018-08-31", "rocky", {}),
    ("2021-04-16", "wallaby", IN_2021_04_16),
)
DROPPED: Mapping[str, tuple[str, ...]] = {
    "2014-10-16": tuple(CFN_FUNCTIONS),
    "2015-10-15": tuple(SELECT),
}
PLAIN_WORDS = frozenset({"repeat", "digest", "if", "filter", "contains"})
"""Functions whose names people use as keys of their own: where they are none, they are data."""


def _history() -> dict[str, Version]:
    """Every version by its date and by its name."""
    everything: dict[str, str] = {}
    for date, _alias, added in HISTORY:
        for name in added:
            everything.setdefault(name, date)
    functions: dict[str, Function] = {}
    versions: dict[str, Version] = {}
    for date, alias, added in HISTORY:
        functions = {
            name: one for name, one in functions.items() if name not in DROPPED.get(date, ())
        } | dict(added)
        conditions: dict[str, Function] = {}
        if date >= "2016-10-14":
            conditions = dict(FIRST_CONDITIONS)
        if date >= "2017-09-01":
            conditions |= {**YAQL, **CONTAINS}
        version = Version(
            date=date,
            alias=alias,
            functions=functions,
            condition_functions=conditions,
            has_conditions=date >= "2016-10-14",
            has_modulo=date >= "2017-02-24",
            has_tags=date >= "2018-03-02",
            deletion_policies=POLICIES_ANY_CASE if date >= "2016-10-14" else POLICIES,
            elsewhere={
                name: f"The function {name} is not supported in {VERSION_KEY} {date}: "
                + (f"it came with {since}." if since > date else "it was removed before that.")
                for name, since in everything.items()
                if name not in functions and name not in PLAIN_WORDS
            },
        )
        versions[date] = version
        if alias is not None:
            versions[alias] = version
    return versions


VERSIONS: Mapping[str, Version] = _history()


def version_of(template: Mapping[str, Any]) -> Version:
    """The version that a template names.

    Raises: VersionError.
    """
    foreign = [key for key in FOREIGN_VERSION_KEYS if key in template]
    if foreign:
        raise VersionError(
            f"The template version is invalid: {foreign[0]} means a CloudFormation template, and "
            f"those are not supported. Write the template in HOT, with {VERSION_KEY}.",
            (foreign[0],),
        )
    if VERSION_KEY not in template:
        raise VersionError(
            f"Template format version not found: the template needs the key {VERSION_KEY}."
        )
    named = template[VERSION_KEY]
    version = VERSIONS.get(named) if isinstance(named, str) else None
    if version is None:
        raise VersionError(
            f'The template version is invalid: "{VERSION_KEY}: {named}". "{VERSION_KEY}" should '
            f"be one of: {', '.join(sorted(VERSIONS))}",
            (VERSION_KEY,),
        )
    return version


def template_versions() -> list[dict[str, Any]]:
    """``GET /template_versions``: version, type and aliases of each."""
    return [
        {
            "version": f"{VERSION_KEY}.{date}",
            "type": "hot",
            "aliases": [] if alias is None else [f"{VERSION_KEY}.{alias}"],
        }
        for date, alias, _added in HISTORY
    ]


def functions_of(version: str, *, with_conditions: bool = False) -> list[dict[str, str]] | None:
    """``GET /template_versions/{version}/functions``, or None for a version that is not there.

    ``version`` is ``heat_template_version.<date or name>``.
    """
    known = VERSIONS.get(version.removeprefix(f"{VERSION_KEY}."))
    if known is None or not version.startswith(f"{VERSION_KEY}."):
        return None
    shown = dict(known.functions)
    if with_conditions:
        shown |= known.condition_functions
    return [{"functions": name, "description": one.summary} for name, one in sorted(shown.items())]
