from __future__ import annotations

import pytest
from tests.stacks.hot.language import fault, result, template

from holdfast.stacks.hot import (
    VERSIONS,
    HotError,
    compile_template,
    functions_of,
    template_versions,
)

DATES = [
    "2013-05-23", "2014-10-16", "2015-04-30", "2015-10-15", "2016-04-08", "2016-10-14",
    "2017-02-24", "2017-09-01", "2018-03-02", "2018-08-31", "2021-04-16",
]  # fmt: skip
ALIASES = {
    "newton": "2016-10-14",
    "ocata": "2017-02-24",
    "pike": "2017-09-01",
    "queens": "2018-03-02",
    "rocky": "2018-08-31",
    "wallaby": "2021-04-16",
}
ALWAYS = {
    "get_attr",
    "get_file",
    "get_param",
    "get_resource",
    "list_join",
    "resource_facade",
    "str_replace",
}
CFN = {
    "Fn::GetAZs",
    "Ref",
    "Fn::Join",
    "Fn::Split",
    "Fn::Replace",
    "Fn::Base64",
    "Fn::MemberListToMap",
    "Fn::ResourceFacade",
}
SINCE = {
    "repeat": "2015-04-30",
    "digest": "2015-04-30",
    "str_split": "2015-10-15",
    "map_merge": "2016-04-08",
    "yaql": "2016-10-14",
    "map_replace": "2016-10-14",
    "if": "2016-10-14",
    "filter": "2017-02-24",
    "str_replace_strict": "2017-02-24",
    "make_url": "2017-09-01",
    "list_concat": "2017-09-01",
    "str_replace_vstrict": "2017-09-01",
    "list_concat_unique": "2017-09-01",
    "contains": "2017-09-01",
}


@pytest.mark.parametrize("date", DATES)
def test_a_version_has_its_own_functions(date):
    expected = ALWAYS | {name for name, since in SINCE.items() if since <= date}
    expected |= CFN if date == "2013-05-23" else set()
    expected |= {"Fn::Select"} if date < "2015-10-15" else set()
    assert set(VERSIONS[date].functions) == expected


@pytest.mark.parametrize("date", DATES)
def test_a_version_has_its_own_condition_functions(date):
    expected = {"get_param", "equals", "not", "and", "or"} if date >= "2016-10-14" else set()
    expected |= {"yaql", "contains"} if date >= "2017-09-01" else set()
    assert set(VERSIONS[date].condition_functions) == expected


@pytest.mark.parametrize(("alias", "date"), ALIASES.items())
def test_a_version_may_be_called_by_its_release(alias, date):
    assert VERSIONS[alias] is VERSIONS[date]
    assert compile_template(template(1, alias)).version == date


@pytest.mark.parametrize("date", DATES)
def test_every_version_compiles(date):
    assert result({"get_param": "OS::stack_name"}, date) == ""


@pytest.mark.parametrize(
    "named", ["2012-12-12", "2013-5-23", "mitaka", "", None, 20130523, ["2013-05-23"], 1.0]
)
def test_an_unknown_version_is_refused_with_those_there_are(named):
    with pytest.raises(
        HotError, match=r"should be one of: 2013-05-23, 2014-10-16.*wallaby"
    ) as caught:
        compile_template({"heat_template_version": named})
    assert caught.value.kind == "InvalidTemplateVersion"


@pytest.mark.parametrize("document", [{}, {"resources": {}}, "", "resources: {}"])
def test_a_template_without_a_version_is_refused(document):
    with pytest.raises(HotError, match="Template format version not found"):
        compile_template(document)


@pytest.mark.parametrize("key", ["AWSTemplateFormatVersion", "HeatTemplateFormatVersion"])
def test_cloudformation_is_refused_by_name(key):
    with pytest.raises(HotError, match=rf"{key} means a CloudFormation template.*Write .* in HOT"):
        compile_template(f"{key}: '2010-09-09'\nResources: {{}}\n")


@pytest.mark.parametrize(
    ("name", "since"), [(n, s) for n, s in SINCE.items() if "_" in n or n == "yaql"]
)
def test_a_function_of_a_later_version_is_refused_and_says_since_when(name, since):
    before = DATES[DATES.index(since) - 1]
    wrong = fault({name: ["a"]}, before)
    assert (
        f"{name} is not supported in heat_template_version {before}: it came with {since}"
        in str(wrong)
    )


@pytest.mark.parametrize("name", ["repeat", "digest", "if", "filter", "contains"])
def test_plain_words_are_data_where_they_are_no_functions(name):
    assert result({name: ["a"]}, "2014-10-16") == {name: ["a"]}


def test_functions_are_functions_alone_in_their_map_only():
    assert result({"get_param": "x", "other": 1}) == {"get_param": "x", "other": 1}


def test_the_api_lists_versions_with_their_other_names():
    listed = template_versions()
    assert [one["version"] for one in listed] == [f"heat_template_version.{date}" for date in DATES]
    assert listed[0] == {
        "version": "heat_template_version.2013-05-23",
        "type": "hot",
        "aliases": [],
    }
    assert listed[-1]["aliases"] == ["heat_template_version.wallaby"]


@pytest.mark.parametrize("version", [*DATES, *ALIASES])
def test_the_api_describes_every_function_of_a_version(version):
    listed = functions_of(f"heat_template_version.{version}")
    assert listed is not None
    assert {one["functions"] for one in listed} == set(VERSIONS[version].functions)
    assert all(one["description"] for one in listed)


def test_the_api_adds_condition_functions_when_asked():
    without = functions_of("heat_template_version.2016-10-14") or []
    added = functions_of("heat_template_version.2016-10-14", with_conditions=True) or []
    assert {one["functions"] for one in added} - {one["functions"] for one in without} == {
        "equals", "not", "and", "or",
    }  # fmt: skip


@pytest.mark.parametrize("version", ["2016-10-14", "heat_template_version.2012-12-12", "x", ""])
def test_functions_of_no_version_are_none(version):
    assert functions_of(version) is None
