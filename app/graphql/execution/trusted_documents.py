"""TrustedDocuments documents: the operations that a front end was built with, read from the manifests of its build.

Formats: Apollo's (`apollo-persisted-query-manifest`), and the object from id to text that Relay's compiler and
graphql-codegen write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from app.config.settings import ConfigError, Settings

SHA256 = "sha256:"
APOLLO = "apollo-persisted-query-manifest"
VARIABLE = "PUNCHCARD_TRUSTED_DOCUMENTS"


def sha256_of(text: str) -> str:
    """The hash by which clients name a document: SHA-256 of its UTF-8, in lower-case hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class TrustedDocuments:
    """Documents by the ids of their manifests, and by their hashes."""

    by_id: Mapping[str, str] = field(default_factory=dict)
    by_hash: Mapping[str, str] = field(default_factory=dict)

    def find(self, document_id: str) -> str | None:
        """The document of an id as a manifest gives it, or of `sha256:` and the hash, or of the bare hash; else None."""
        found = self.by_id.get(document_id)
        return found if found is not None else self.by_hash.get(document_id.removeprefix(SHA256))

    def has(self, text: str) -> bool:
        """Whether exactly this text is one of them."""
        return bool(self.by_hash) and sha256_of(text) in self.by_hash


def load_trusted(settings: Settings) -> TrustedDocuments:
    """The documents of a manifest, or of every `.json` file in a folder; none without a path.

    Raises ConfigError for a path that cannot be read, what is no manifest, one id with two texts, and for no path where
    only trusted documents are run.
    """
    path = settings.trusted_documents
    if path is None and settings.documents == "trusted":
        raise _unusable("must name the documents that PUNCHCARD_DOCUMENTS=trusted allows.")
    by_id: dict[str, str] = {}
    for file in _files(path):
        for document_id, text in _documents(file):
            if by_id.setdefault(document_id, text) != text:
                raise _unusable(f"has two documents with the id {document_id!r}, one of them in {file.name}.")
    return TrustedDocuments(by_id, {sha256_of(text): text for text in by_id.values()})


def _files(path: Path | None) -> list[Path]:
    if path is None:
        return []
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise _unusable("is a folder without a .json file in it.")
    return files


def _documents(file: Path) -> Iterator[tuple[str, str]]:
    try:
        manifest = orjson.loads(file.read_bytes())
    except OSError as error:
        raise _unusable(f"names {file.name}, which cannot be read: {error.strerror}.") from None
    except orjson.JSONDecodeError:
        raise _unusable(f"names {file.name}, which is not JSON.") from None
    pairs: list[tuple[object, object]] = []
    if isinstance(manifest, dict) and manifest.get("format") == APOLLO:
        operations = manifest.get("operations")
        for operation in operations if isinstance(operations, list) else [None]:
            known = operation if isinstance(operation, dict) else {}
            pairs.append((known.get("id"), known.get("body")))
    elif isinstance(manifest, dict):
        pairs.extend(manifest.items())
    else:
        pairs.append((None, None))
    for document_id, text in pairs:
        if not isinstance(document_id, str) or not document_id or not isinstance(text, str) or not text.strip():
            raise _unusable(f"names {file.name}, which is no manifest of Apollo, Relay or graphql-codegen.")
        yield document_id, text


def _unusable(what: str) -> ConfigError:
    return ConfigError([f"{VARIABLE} {what}"])
