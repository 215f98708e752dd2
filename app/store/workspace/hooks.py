"""Named queries over inbound hooks. Only `hook_of` reads across workspaces: the address of a hook says which one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.domain.inbound.hooks import HookSecret, InboundHook
from app.domain.inbound.mappings import mapping_from_json
from app.domain.signatures import Encoding, Scheme, Verification
from app.store.mongo.paging import Page, PageRequest, by_instant, page_of
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, translating_errors

LIST_PROJECTION = {"secrets": 0}


class HookQueries(WorkspaceQueries):
    """Inbound hooks of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "inbound_hooks"

    async def insert(self, hook: InboundHook, secret: HookSecret) -> None:
        """Stores a hook and its first secret."""
        made = {"_id": hook.id, "created_at": hook.created_at, "secrets": secrets_doc([secret])}
        await self._all.insert_one(self._mine(**made, **_doc(hook)))

    async def get_many(self, hook_ids: Iterable[str]) -> dict[str, InboundHook]:
        """The hooks that exist among the ids. Index: _id."""
        return {doc["_id"]: hook_from(doc) for doc in await self._by_ids(hook_ids, LIST_PROJECTION)}

    async def page(self, span: PageRequest) -> Page[InboundHook]:
        """Hooks, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        order = (("created_at", -1), ("_id", -1))
        return await page_of(self._all, self._mine(), order, by_instant(span), hook_from, LIST_PROJECTION)

    async def count(self) -> int:
        """How many hooks the workspace has, archived ones included. Index: {workspace, created_at, _id}."""
        return await self._all.count_documents(self._mine())

    async def live(self) -> int:
        """How many of them are not archived. Index: {workspace, created_at, _id}."""
        return await self._all.count_documents(self._mine(archived_at=None))

    async def secrets(self, hook_id: str) -> tuple[HookSecret, ...]:
        """The secrets of a hook, the newest first, expired ones included. Index: _id."""
        docs = await self._by_ids([hook_id], {"secrets": 1})
        return tuple(secrets_from(docs[0])) if docs else ()

    async def save(self, hook: InboundHook, secrets: Sequence[HookSecret] | None = None) -> bool:
        """Whether the hook was changed to this, with these secrets if given: not where it was changed meanwhile.

        `hook.version` is the version that it was read at. Index: _id.
        """
        change = _doc(hook) if secrets is None else {**_doc(hook), "secrets": secrets_doc(secrets)}
        change["version"] = hook.version + 1
        done = await self._all.update_one(self._mine(_id=hook.id, version=hook.version), {"$set": change})
        return done.matched_count == 1


async def hook_of(db: Database, hook_id: str) -> tuple[InboundHook, tuple[HookSecret, ...]] | None:
    """The hook of an address and its secrets, the newest first; None for none. Index: _id."""
    with translating_errors():
        doc = await db["inbound_hooks"].find_one({"_id": hook_id})
    return None if doc is None else (hook_from(doc), tuple(secrets_from(doc)))


def hook_from(doc: Doc) -> InboundHook:
    """A stored hook."""
    verification = doc["verification"]
    return InboundHook(
        doc["_id"],
        doc["workspace"],
        doc["name"],
        doc["source"],
        Verification(
            Scheme(verification["scheme"]),
            verification["header"],
            Encoding(verification["encoding"]),
            verification["prefix"],
        ),
        mapping_from_json(doc["mapping"]),
        doc["create_missing_passes"],
        doc["created_at"],
        doc["updated_at"],
        doc["archived_at"],
        doc["version"],
    )


def _doc(hook: InboundHook) -> Doc:
    """What of a hook may change. The mapping is a text: its keys may hold points, which documents' may not."""
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


def secrets_doc(secrets: Iterable[HookSecret]) -> list[Doc]:
    """Secrets as they are stored; `secrets_from` of a document that has them is the same."""
    return [{"text": secret.text, "expires_at": secret.expires_at} for secret in secrets]


def secrets_from(doc: Doc) -> list[HookSecret]:
    """The secrets of a stored hook or endpoint."""
    return [HookSecret(secret["text"], secret["expires_at"]) for secret in doc["secrets"]]
