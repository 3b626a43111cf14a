"""What was installed on a host, so that exactly that can be removed again."""

from __future__ import annotations

import json
from typing import NamedTuple

from agent.filesystem.durable import write_durably
from agent.fleet import places
from agent.fleet.errors import FleetError
from agent.fleet.places import Places

FORMAT = 1


class Manifest(NamedTuple):
    """One installation: paths are absolute, as the host itself sees them.

    ``name`` and ``previous`` are directories of versions; ``files`` has the SHA-256 of each, ``links`` their targets.
    ``directories`` were made for the links, the outer ones first.
    """

    name: str
    previous: str | None = None
    files: dict[str, str] = {}  # noqa: RUF012 - a NamedTuple's default that nobody changes
    links: dict[str, str] = {}  # noqa: RUF012
    directories: tuple[str, ...] = ()

    def union(self, older: Manifest | None) -> Manifest:
        """What is there while the older installation gives way to this one."""
        if older is None:
            return self
        return self._replace(files={**self.files, **older.files}, links={**older.links, **self.links})


def load(host: Places) -> Manifest | None:
    """The host's installation, None where there is none. Raises FleetError where the manifest cannot be understood."""
    path = host.at(places.MANIFEST)
    try:
        with open(path, "rb") as file:
            document = json.load(file)
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}")
        return Manifest(
            str(document["name"]),
            document["previous"],
            _texts(document["files"]),
            _texts(document["links"]),
            tuple(map(str, document.get("directories", ()))),  # earlier versions list none
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FleetError(
            f"{path} cannot be understood: {error}.",
            remedy="A newer version may have written it: use that one. To start afresh, move the file away.",
        ) from error


def _texts(value: dict[str, str]) -> dict[str, str]:
    return {str(path): str(text) for path, text in value.items()}


def save(host: Places, manifest: Manifest) -> None:
    """Write the manifest durably. Raises OSError."""
    document = {"format": FORMAT, **manifest._asdict()}
    write_durably(host.at(places.MANIFEST), json.dumps(document, indent=2).encode() + b"\n")
