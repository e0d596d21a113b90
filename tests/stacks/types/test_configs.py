"""Software configurations: what cloud-init and other tools get to read."""

from __future__ import annotations

from email import message_from_string
from typing import Any
from uuid import uuid4

import yaml
from msgspec.structs import replace
from tests.stacks.types.bench import Bench

from holdfast.stacks.resource import Peer
from holdfast.stacks.types.configs import (
    CloudConfig,
    MultipartMime,
    SoftwareConfig,
    StructuredConfig,
)

OTHER = str(uuid4())


async def test_a_software_config_is_the_text_it_was_given():
    bench = Bench(
        SoftwareConfig(),
        {
            "config": "#!/bin/sh\n",
            "group": "script",
            "inputs": [{"name": "a"}],
            "outputs": [{"name": "b", "error_output": True}],
        },
    )
    await bench.create()
    assert bench.row.attributes == {"config": "#!/bin/sh\n"}
    assert bench.properties["inputs"][0]["type"] == "String"


async def test_without_a_text_it_is_empty():
    for kind, empty in ((SoftwareConfig(), ""), (StructuredConfig(), {})):
        bench = Bench(kind)
        await bench.create()
        assert bench.row.attributes == {"config": empty}


async def test_a_structured_config_is_a_map():
    bench = Bench(StructuredConfig(), {"config": {"a": {"b": [1]}}})
    await bench.create()
    assert bench.row.attributes == {"config": {"a": {"b": [1]}}}


async def test_a_cloud_config_is_yaml_with_its_mark():
    given = {"users": [{"name": "ann"}], "runcmd": ["echo ü"]}
    bench = Bench(CloudConfig(), {"cloud_config": given})
    await bench.create()
    mark, _, text = bench.row.attributes["config"].partition("\n")
    assert mark == "#cloud-config"
    assert yaml.safe_load(text) == given


def test_none_of_them_is_updated_in_place():
    for kind in (SoftwareConfig(), StructuredConfig(), CloudConfig(), MultipartMime()):
        assert not any(schema.update_allowed for schema in kind.properties.values())


async def multipart(parts: list[dict[str, Any]], config: Any = None) -> Any:
    """The message, parsed."""
    there = replace(Bench(SoftwareConfig()).row, attributes={"config": config})
    bench = Bench(
        MultipartMime(),
        {"parts": parts},
        peers=lambda said: Peer(row=there) if said == OTHER else None,
    )
    await bench.create()
    first = bench.row.attributes["config"]
    await bench.create()
    assert bench.row.attributes["config"] == first  # made again, it is the same
    return message_from_string(first)


def bodies(message: Any) -> list[tuple[str, str, str | None]]:
    return [
        (part.get_content_type(), part.get_payload(decode=True).decode(), part.get_filename())
        for part in message.get_payload()
    ]


async def test_parts_are_put_together_with_their_types_and_names():
    message = await multipart(
        [
            {"config": "#!/bin/sh", "subtype": "x-shellscript"},
            {"config": "naïve", "filename": "cloud-config.txt"},
            {"config": "plain"},
        ]
    )
    assert bodies(message) == [
        ("text/x-shellscript", "#!/bin/sh", None),
        ("text/cloud-config", "naïve", "cloud-config.txt"),
        ("text/plain", "plain", None),
    ]


async def test_a_part_may_be_another_config_by_its_id():
    assert bodies(await multipart([{"config": OTHER}], "from afar"))[0][1] == "from afar"
    assert bodies(await multipart([{"config": OTHER}], {"a": 1}))[0][1] == '{"a": 1}'
    unknown = str(uuid4())
    assert bodies(await multipart([{"config": unknown}]))[0][1] == unknown


async def test_a_multi_part_message_is_taken_apart():
    first = await multipart([{"config": "one", "subtype": "x-a"}, {"config": "zwölf"}])
    inner = first.as_string()
    message = await multipart(
        [{"config": inner, "type": "multipart"}, {"config": "no message", "type": "multipart"}]
    )
    assert [(kind, text) for kind, text, _ in bodies(message)] == [
        ("text/x-a", "one"),
        ("text/plain", "zwölf"),
    ]
