"""Named queries over inbound hooks. Only `read_hook` reads across workspaces: a hook's address names no workspace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.domain.inbound.hooks import HookSecret, InboundHook
from app.domain.inbound.mappings import mapping_from_json
from app.domain.signatures import Encoding, Scheme, Verification
from app.store.mongo.paging import Page, PageRequest, read_page, to_stored_keys
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, translating_errors

LIST_PROJECTION = {"secrets": 0}


class HookQueries(WorkspaceQueries):
    """Inbound hooks of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "inbound_hooks"

    async def insert(self, hook: InboundHook, secret: HookSecret) -> None:
        """Insert a hook and its first secret."""
        fixed = {"_id": hook.id, "created_at": hook.created_at, "secrets": secrets_to_docs([secret])}
        await self._collection.insert_one(self._in_workspace(**fixed, **_changing_fields(hook)))

    async def get_many(self, hook_ids: Iterable[str]) -> dict[str, InboundHook]:
        """Return the hooks that exist among the ids. Index: _id."""
        return {doc["_id"]: hook_from_doc(doc) for doc in await self._by_ids(hook_ids, LIST_PROJECTION)}

    async def page(self, span: PageRequest) -> Page[InboundHook]:
        """Return hooks, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        order = (("created_at", -1), ("_id", -1))
        return await read_page(
            self._collection, self._in_workspace(), order, to_stored_keys(span), hook_from_doc, LIST_PROJECTION
        )

    async def count(self) -> int:
        """Return the number of hooks, archived ones included. Index: {workspace, created_at, _id}."""
        return await self._count()

    async def live(self) -> int:
        """Return the number of hooks that are not archived. Index: {workspace, created_at, _id}."""
        return await self._count(archived_at=None)

    async def secrets(self, hook_id: str) -> tuple[HookSecret, ...]:
        """Return the secrets of a hook, the newest first, expired ones included. Index: _id."""
        docs = await self._by_ids([hook_id], {"secrets": 1})
        return tuple(secrets_from_doc(docs[0])) if docs else ()

    async def save(self, hook: InboundHook, secrets: Sequence[HookSecret] | None = None) -> bool:
        """Store a changed hook, and its secrets if given, and return whether it was stored. Index: _id.

        `hook.version` is the version that was read. Returns False if the hook was changed meanwhile.
        """
        change = (
            _changing_fields(hook)
            if secrets is None
            else {**_changing_fields(hook), "secrets": secrets_to_docs(secrets)}
        )
        change["version"] = hook.version + 1
        result = await self._collection.update_one(
            self._in_workspace(_id=hook.id, version=hook.version), {"$set": change}
        )
        return result.matched_count == 1


async def read_hook(db: Database, hook_id: str) -> tuple[InboundHook, tuple[HookSecret, ...]] | None:
    """Return the hook of an id with its secrets, the newest first, or None. Index: _id."""
    with translating_errors():
        doc = await db["inbound_hooks"].find_one({"_id": hook_id})
    return None if doc is None else (hook_from_doc(doc), tuple(secrets_from_doc(doc)))


def hook_from_doc(doc: Doc) -> InboundHook:
    """Return the hook of a document."""
    verification = doc["verification"]
    return InboundHook(
        id=doc["_id"],
        workspace_id=doc["workspace"],
        name=doc["name"],
        source=doc["source"],
        verification=Verification(
            scheme=Scheme(verification["scheme"]),
            header=verification["header"],
            encoding=Encoding(verification["encoding"]),
            prefix=verification["prefix"],
        ),
        mapping=mapping_from_json(doc["mapping"]),
        create_missing_passes=doc["create_missing_passes"],
        created_at=doc["created_at"],
        updated_at=doc["updated_at"],
        archived_at=doc["archived_at"],
        version=doc["version"],
    )


def _changing_fields(hook: InboundHook) -> Doc:
    """Return the fields that may change.

    The mapping is stored as text: its keys may contain dots, keys of documents may not.
    """
    verification = hook.verification
    return {
        "name": hook.name,
        "source": hook.source,
        "verification": {
            "scheme": verification.scheme.value,
            "header": verification.header,
            "encoding": verification.encoding.value,
            "prefix": verification.prefix,
        },
        "mapping": hook.mapping.text,
        "create_missing_passes": hook.create_missing_passes,
        "updated_at": hook.updated_at,
        "archived_at": hook.archived_at,
        "version": hook.version,
    }


def secrets_to_docs(secrets: Iterable[HookSecret]) -> list[Doc]:
    """Return the documents of secrets. `secrets_from_doc` is the inverse, for a document that contains them."""
    return [{"text": secret.text, "expires_at": secret.expires_at} for secret in secrets]


def secrets_from_doc(doc: Doc) -> list[HookSecret]:
    """Return the secrets of the document of a hook or endpoint."""
    return [HookSecret(secret["text"], secret["expires_at"]) for secret in doc["secrets"]]
