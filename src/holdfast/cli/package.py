"""``holdfast package``: build, verify and deploy packages of query services."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import click

from holdfast.cli.context import Cli
from holdfast.errors import ConfigError, ConflictError, UnavailableError

_PATH = click.Path(exists=True, path_type=Path)


@click.group()
def package() -> None:
    """Packages: a service with its endpoints, models and keys, in one file."""


@package.command("build")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--to", "target", type=click.Path(path_type=Path), help="File to write.")
@click.option("--generation", help="Its name.  [default: made of the content's digest]")
@click.option("--key", type=_PATH, help="Sign with this Ed25519 key (PEM).")
@click.pass_obj
def build_package(
    obj: Cli, folder: Path, target: Path | None, generation: str | None, key: Path | None
) -> None:
    """Build the package of FOLDER, which has a service.toml."""
    import msgspec

    from holdfast.serving.packages.build import build, read_description
    from holdfast.serving.packages.signing import read_key

    out = target or Path(f"{read_description(folder).id}.hfpkg")
    built = build(
        folder, out, generation=generation, key=read_key(key) if key is not None else None
    )
    document: dict[str, Any] = msgspec.to_builtins(built)
    obj.show(document, list(document), [list(document.values())])


@package.command("keygen")
@click.argument("file", type=click.Path(path_type=Path))
def keygen(file: Path) -> None:
    """Make a signing key; shows the public half, for the nodes' trusted_keys."""
    from holdfast.serving.packages.signing import new_key

    if file.exists():
        raise ConflictError(f"{file} is there already: nothing was changed.")
    click.echo(new_key(file))


@package.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--trust", multiple=True, help="A public key (hex) that must have signed it.")
@click.pass_obj
def verify(obj: Cli, file: Path, trust: tuple[str, ...]) -> None:
    """Check a package as a node would, without loading it."""
    from holdfast.serving.packages.opening import Limits, open_package, require_signed

    opened = open_package(file, Limits(), trust)
    if trust:
        require_signed(opened)
    document: dict[str, Any] = {
        "service": opened.manifest.service.id,
        "generation": opened.manifest.generation,
        "format": opened.manifest.format,
        "endpoints": [endpoint.id for endpoint in opened.manifest.service.endpoints],
        "files": len(opened.manifest.files),
        "digest": opened.digest,
        "signed_by": opened.signer,
        "trusted": opened.signed_by is not None,
    }
    obj.show(document, list(document), [list(document.values())])


@package.command("deploy")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--nodes", required=True, help="URLs of nodes, with commas between them.")
@click.option(
    "--quorum", type=int, help="How many must have it before any switches. [default: all]"
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default="./apinode",
    help="Where admin.key is, unless HOLDFAST_APINODE_KEY says the key.",
)
@click.pass_obj
def deploy(obj: Cli, file: Path, nodes: str, quorum: int | None, data: Path) -> None:
    """Upload FILE to all nodes, load and test it there, then activate it (D4)."""
    from holdfast.serving.operating.api import node_url
    from holdfast.serving.operating.deploy import deploy as deploy_to
    from holdfast.serving.packages.opening import Limits, open_package

    opened = open_package(file, Limits(), ())
    urls = [node_url(url) for url in nodes.split(",") if url.strip()]
    wanted = len(urls) if quorum is None else quorum
    if not 1 <= wanted <= len(urls):
        raise ConfigError(f"--quorum is between 1 and {len(urls)}.")
    service, generation = opened.manifest.service.id, opened.manifest.generation
    reports = asyncio.run(deploy_to(file, urls, service, generation, wanted, admin_key(data)))
    columns = ["node", "state", "detail"]
    document = {"service": service, "generation": generation, "nodes": reports}
    obj.show(document, columns, [[one[column] for column in columns] for one in reports])
    active = sum(one["state"] == "active" for one in reports)
    if active < wanted:
        raise UnavailableError(f"{active} of {len(urls)} nodes serve it; wanted were {wanted}.")


def admin_key(data: Path) -> str:
    """The admin key: HOLDFAST_APINODE_KEY, or that of a data directory; ``ConfigError``."""
    from holdfast.serving.front.keys import KEY_FILE, KEY_VARIABLE

    told = os.environ.get(KEY_VARIABLE)
    path = data / KEY_FILE
    if told:
        return told
    if not path.is_file():
        raise ConfigError(f"Set {KEY_VARIABLE}, or say --data: there is no {path}.")
    return path.read_text().strip()
