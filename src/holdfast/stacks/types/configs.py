"""Software configurations: texts for machines that boot, immutable, referred to by their id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email import message_from_string
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import PurePath
from typing import Final
from uuid import UUID

import yaml

from holdfast.stacks.hot.constraints import AllowedValues
from holdfast.stacks.hot.properties import PropertySchema
from holdfast.stacks.resource import Attribute, Base, Progress, Ready, ResourceContext
from holdfast.stacks.types.schemas import anything, boolean, listing, mapping, string
from holdfast.stacks.types.typed import entries
from holdfast.store.model import Json

_GROUP: Final = string(
    "The tool that is to read it, by the name under which it is handed to a machine.",
    default="Heat::Ungrouped",
)
_VALUE_TYPES: Final = AllowedValues(("String", "Number", "CommaDelimitedList", "Json", "Boolean"))
_INPUT: Final[Mapping[str, PropertySchema]] = {
    "name": string("Its name.", required=True),
    "description": string("What it is for."),
    "type": string("The type of its value.", _VALUE_TYPES, default="String"),
    "default": anything("Its value when none is given."),
    "replace_on_change": boolean("Whether another value replaces the deployment.", default=False),
}
_OUTPUT: Final[Mapping[str, PropertySchema]] = {
    "name": string("Its name.", required=True),
    "description": string("What it tells."),
    "type": string("The type of its value.", _VALUE_TYPES, default="String"),
    "error_output": boolean("Whether a value means that the deployment failed.", default=False),
}
_AROUND: Final[Mapping[str, PropertySchema]] = {
    "group": _GROUP,
    "options": mapping("Options for the tool that reads it."),
    "inputs": listing("The inputs that it expects.", of=mapping("One input.", _INPUT)),
    "outputs": listing("The outputs that it produces.", of=mapping("One output.", _OUTPUT)),
}
_SOFTWARE: Final[Mapping[str, PropertySchema]] = {
    **_AROUND,
    "config": string("The script or manifest."),
}
_STRUCTURED: Final[Mapping[str, PropertySchema]] = {
    **_AROUND,
    "config": mapping("The configuration as a map, for tools that read JSON or YAML."),
}
_CLOUD: Final[Mapping[str, PropertySchema]] = {
    "cloud_config": mapping("The cloud-config, as a map; it is written as YAML."),
}
_MULTIPART: Final[Mapping[str, PropertySchema]] = {
    "group": _GROUP,
    "parts": listing(
        "What the message is put together from.",
        of=mapping(
            "One part.",
            {
                "config": string(
                    "Its text, or a reference to another configuration.", required=True
                ),
                "filename": string("Its file name."),
                "type": string(
                    "Whether it is a text, or a multi-part message whose parts are taken.",
                    AllowedValues(("text", "multipart")),
                    default="text",
                ),
                "subtype": string("Its MIME subtype."),
            },
        ),
        default=[],
    ),
}


class SoftwareConfig(Base):
    """``OS::Heat::SoftwareConfig``. No property is updated in place: a change makes a new one."""

    name = "OS::Heat::SoftwareConfig"
    description = "A script or manifest for machines, with the inputs and outputs that it has."

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _SOFTWARE

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return {"config": Attribute(description="The configuration.")}

    async def create(self, ctx: ResourceContext) -> Progress:
        return Ready(physical_id=str(ctx.row.id), attributes={"config": await self.text(ctx)})

    async def text(self, ctx: ResourceContext) -> Json:
        """The configuration that the properties make."""
        return ctx.properties.get("config") or ""


class StructuredConfig(SoftwareConfig):
    """``OS::Heat::StructuredConfig``."""

    name = "OS::Heat::StructuredConfig"
    description = "A configuration that is a map, with the inputs and outputs that it has."

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _STRUCTURED

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return {"config": Attribute(description="The configuration.", type="map")}

    async def text(self, ctx: ResourceContext) -> Json:
        return entries(ctx.properties.get("config"))


class CloudConfig(SoftwareConfig):
    """``OS::Heat::CloudConfig``."""

    name = "OS::Heat::CloudConfig"
    description = "A cloud-config for cloud-init, written as a map in the template."

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _CLOUD

    async def text(self, ctx: ResourceContext) -> Json:
        text = yaml.safe_dump(
            entries(ctx.properties.get("cloud_config")),
            allow_unicode=True,
            default_flow_style=False,
        )
        return f"#cloud-config\n{text}"


class MultipartMime(SoftwareConfig):
    """``OS::Heat::MultipartMime``."""

    name = "OS::Heat::MultipartMime"
    description = "Several configurations as one multi-part message for cloud-init."

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _MULTIPART

    async def text(self, ctx: ResourceContext) -> Json:
        parts: list[MIMEText] = []
        for asked in ctx.properties["parts"]:
            text = await configuration(ctx, asked["config"])
            if asked.get("type") == "multipart":
                parts += _parts_of(text)
            else:
                parts.append(_part(text, asked.get("subtype"), asked.get("filename")))
        # The boundary comes from the key, so that making it again makes the same text.
        return MIMEMultipart(boundary=f"=={ctx.row.id.hex}==", _subparts=parts).as_string()


async def configuration(ctx: ResourceContext, said: str) -> str:
    """The text of the configuration with this id; what is no such id is the text itself."""
    try:
        UUID(said)
    except ValueError:
        return said
    peer = await ctx.peer(said)
    found = None if peer is None else peer.row.attributes.get("config")
    if found is None:
        return said
    return found if isinstance(found, str) else json.dumps(found)


def _parts_of(text: str) -> list[MIMEText]:
    message = message_from_string(text)
    if not message.is_multipart():
        return []
    found: list[MIMEText] = []
    for part in message.walk():
        if part.is_multipart():
            continue
        raw = part.get_payload(decode=True)
        body = (
            raw.decode(part.get_content_charset("utf-8"), "replace")
            if isinstance(raw, bytes)
            else str(raw)
        )
        found.append(_part(body, part.get_content_subtype(), part.get_filename()))
    return found


def _part(text: str, subtype: str | None, filename: str | None) -> MIMEText:
    """As cloud-init tells parts: by their MIME subtype, which a file name may stand in for."""
    subtype = subtype or (PurePath(filename).stem if filename else None) or "plain"
    part = MIMEText(text, subtype, "us-ascii" if text.isascii() else "utf-8")
    if filename:
        part.add_header("Content-Disposition", "attachment", filename=filename)
    return part
