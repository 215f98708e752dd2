"""Trusted documents: the operations of a front end, read from the manifest that its build writes.

Two formats are read: Apollo's `apollo-persisted-query-manifest`, and an object from ids to documents, which Relay's
compiler and graphql-codegen write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from app.config.settings import ConfigError, Settings

from .documents import MAX_DOCUMENT_CHARACTERS

SHA256 = "sha256:"
APOLLO = "apollo-persisted-query-manifest"
VARIABLE = "PUNCHCARD_TRUSTED_DOCUMENTS"


def sha256_of(text: str) -> str:
    """Return the hash by which clients name a document: SHA-256 of its UTF-8, in lower-case hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class TrustedDocuments:
    """Trusted documents by the ids in their manifests, and by their hashes."""

    by_id: Mapping[str, str] = field(default_factory=dict)
    by_hash: Mapping[str, str] = field(default_factory=dict)

    def find(self, document_id: str) -> str | None:
        """Return the document with this id of a manifest, or with this hash; None if there is none.

        A hash may be written with or without `sha256:` before it.
        """
        document = self.by_id.get(document_id)
        return document if document is not None else self.by_hash.get(document_id.removeprefix(SHA256))

    def has(self, text: str) -> bool:
        """Return whether a trusted document has exactly this text."""
        return bool(self.by_hash) and sha256_of(text) in self.by_hash


def load_trusted(settings: Settings) -> TrustedDocuments:
    """Return the documents of a manifest, or of every `.json` file in a folder; none if the setting is empty.

    Raises ConfigError if a file cannot be read or is no manifest, or if one id has two documents. Raises ConfigError
    also if the setting is empty although the API runs only trusted documents.
    """
    path = settings.trusted_documents
    if path is None and settings.documents == "trusted":
        raise _config_error("must name a manifest or a folder, because PUNCHCARD_DOCUMENTS is 'trusted'.")
    by_id: dict[str, str] = {}
    for file in _list_files(path):
        for document_id, text in _read_documents(file):
            if len(text) > MAX_DOCUMENT_CHARACTERS:
                problem = f"has the document {document_id!r} of {len(text):,} characters in {file.name}"
                raise _config_error(f"{problem}; at most {MAX_DOCUMENT_CHARACTERS:,} are allowed. Split it.")
            if by_id.setdefault(document_id, text) != text:
                raise _config_error(f"has two documents with the id {document_id!r}, one of them in {file.name}.")
    return TrustedDocuments(by_id, {sha256_of(text): text for text in by_id.values()})


def _list_files(path: Path | None) -> list[Path]:
    if path is None:
        return []
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise _config_error("names a folder without a .json file. Put a manifest into it.")
    return files


def _read_documents(file: Path) -> Iterator[tuple[str, str]]:
    try:
        manifest = orjson.loads(file.read_bytes())
    except OSError as error:
        raise _config_error(f"names {file.name}, which cannot be read: {error.strerror}.") from None
    except orjson.JSONDecodeError:
        raise _config_error(f"names {file.name}, which is not JSON.") from None
    pairs: list[tuple[object, object]] = []
    if isinstance(manifest, dict) and manifest.get("format") == APOLLO:
        operations = manifest.get("operations")
        for operation in operations if isinstance(operations, list) else [None]:
            members = operation if isinstance(operation, dict) else {}
            pairs.append((members.get("id"), members.get("body")))
    elif isinstance(manifest, dict):
        pairs.extend(manifest.items())
    else:
        pairs.append((None, None))
    for document_id, text in pairs:
        if not isinstance(document_id, str) or not document_id or not isinstance(text, str) or not text.strip():
            raise _config_error(f"names {file.name}, which is no manifest of Apollo, Relay or graphql-codegen.")
        yield document_id, text


def _config_error(problem: str) -> ConfigError:
    return ConfigError([f"{VARIABLE} {problem}"])
