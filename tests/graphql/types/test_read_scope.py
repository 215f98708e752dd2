"""What keys without the scope `read` learn from mutations and streams: what they sent themselves, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from app.graphql.types.ids import from_global_id
from tests.graphql.serving import Api
from workers.stages.run_job import jobs

HOLDER = {"name": "Ann Lee", "email": "ann@example.com", "phone": "+49 30 1"}
PROFILE = "holder { name email phone } fields metadata"
CREATE = (
    f"mutation ($p: [CreatePassInput!]!) {{ createPasses(input: {{passes: $p}}) {{ results {{ status pass {{ id {PROFILE} }}"
    " } } }"
)
SECRETS = ("Ann Lee", "ann@example.com", "+49 30 1", "size-41", "vip-note", "gift-note", "10.9.8.7")


@pytest.fixture
async def ann(api: Api) -> dict[str, Any]:
    """Create a pass with a whole profile, and return what was sent."""
    sent = {"externalId": "ann", "holder": HOLDER, "fields": {"shoe": "size-41"}, "metadata": {"note": "vip-note"}}
    await api.fetch_data(CREATE, p=[sent])
    return sent


def event(kind: str, identity: str, **more: Any) -> dict[str, Any]:
    """Return an event on the pass `ann`, with metadata."""
    return {"passExternalId": "ann", "type": kind, "externalId": identity, "metadata": {"note": "gift-note"}, **more}


RECORD = """mutation ($input: RecordEventInput!) { recordEvent(input: $input) {
  status event { id %s } userErrors { code } } }"""


@pytest.mark.usefixtures("ann")
@pytest.mark.parametrize("field", ["holder { name }", "holder { email }", "holder { phone }", "fields", "metadata"])
async def test_a_write_key_reads_no_profile_through_an_event(api: Api, field: str) -> None:
    api.secret = await api.create_key("write")
    answer = await api.execute(RECORD % f"pass {{ id {field} }}", input=event("visit", "1"))
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"FORBIDDEN"}
    assert not any(secret in str(answer) for secret in SECRETS)


async def test_a_write_key_reads_what_it_sent_itself(api: Api, ann: dict[str, Any]) -> None:
    api.secret = await api.create_key("write")
    bob = {**ann, "externalId": "bob"}
    for status in ("CREATED", "DUPLICATE"):
        [result] = (await api.fetch_data(CREATE, p=[bob]))["createPasses"]["results"]
        shown = {name: result["pass"][name] for name in ("holder", "fields", "metadata")}
        assert (result["status"], shown) == (status, {name: bob[name] for name in shown})
        selection = "metadata oldValue newValue type" + (" origin { ipAddress }" if status == "CREATED" else "")
        answer = await api.fetch_data(RECORD % selection, input=event("gift", "g"))
        assert answer["recordEvent"]["status"] == status
        assert answer["recordEvent"]["event"]["metadata"] == {"note": "gift-note"}
    update = 'mutation { updatePass(input: {id: "%s", holder: {name: "Bo"}}) { pass { holder { %s } } } }'
    changed = await api.fetch_data(update % (result["pass"]["id"], "name"))
    assert changed["updatePass"]["pass"]["holder"] == {"name": "Bo"}
    error = await api.fetch_error(update % (result["pass"]["id"], "name email"))
    assert (error["extensions"]["code"], error["path"][-1]) == ("FORBIDDEN", "email")


async def test_a_write_key_reads_no_profile_that_others_changed(api: Api, ann: dict[str, Any]) -> None:
    """A repeated createPass is a duplicate, but it did not send what was changed since."""
    admin = api.secret
    query = (
        'mutation { updatePass(input: {id: "%s", metadata: {later: "vip-note"}}) { pass { id } userErrors { code } } }'
    )
    [result] = (await api.fetch_data(CREATE, p=[ann]))["createPasses"]["results"]
    await api.fetch_data(query % result["pass"]["id"])
    await api.business.run_worker()
    api.secret = await api.create_key("write")
    answer = await api.execute(CREATE, p=[ann])
    assert answer["data"]["createPasses"]["results"][0] == {"status": "DUPLICATE", "pass": None}
    assert not any(secret in str(answer) for secret in SECRETS)
    empty = 'mutation { updatePass(input: {id: "%s"}) { pass { id holder { name } fields metadata } } }'
    answer = await api.execute(empty % result["pass"]["id"])
    assert not any(secret in str(answer) for secret in SECRETS)
    api.secret = admin
    assert "vip-note" in str(await api.fetch_data(empty % result["pass"]["id"]))


@pytest.mark.usefixtures("ann")
async def test_a_conflict_shows_a_write_key_the_id_and_the_status_only(api: Api) -> None:
    await api.fetch_data(RECORD % "type", input=event("gift", "taken", amount=12, currency="USD"))
    api.secret = await api.create_key("write")
    [result] = (await api.execute(CREATE.replace(PROFILE, ""), p=[{"externalId": "ann"}]))["data"]["createPasses"][
        "results"
    ]
    assert result["status"] == "CONFLICT"
    assert result["pass"]["id"]
    other = event("visit", "taken")
    found = (await api.fetch_data(RECORD % "", input=other))["recordEvent"]
    assert found["status"] == "CONFLICT"
    assert found["event"]["id"]
    parts = (
        "type",
        "amount",
        "metadata",
        "origin { ipAddress }",
        "label",
        "pass { id }",
        "correctionOf { id }",
        "source",
    )
    for part in parts:
        error = await api.fetch_error(RECORD % part, input=other)
        assert error["extensions"]["code"] == "FORBIDDEN", part
    by_receipt = RECORD.replace("event { id %s }", "receipt { results { event { id type } } }")
    assert (await api.fetch_error(by_receipt, input=other))["extensions"]["code"] == "FORBIDDEN"
    for part in ("externalId", "status", "createdAt", "pointsBalance", "holder { name }"):
        answer = await api.execute(CREATE.replace(PROFILE, part), p=[{"externalId": "ann"}])
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"], part


@pytest.mark.usefixtures("ann")
async def test_a_write_key_reads_nothing_personal_of_a_corrected_event(api: Api) -> None:
    first = await api.fetch_data(RECORD % "type", input=event("purchase", "p1", amount=12, currency="USD"))
    refund = event("refund", "r1", amount=2, currency="USD", correctionOf=first["recordEvent"]["event"]["id"])
    api.secret = await api.create_key("write")
    for part in ("metadata", "origin { ipAddress userAgent }"):
        answer = await api.execute(RECORD % f"correctionOf {{ {part} }}", input=refund)
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"]


@pytest.mark.usefixtures("ann")
async def test_a_write_key_counts_no_members(api: Api) -> None:
    """A count of members would tell whether a pass has a certain e-mail address."""
    api.secret = await api.create_key("write")
    criteria = '{pass: {field: "holder.email", operator: CONTAINS, value: "ann@"}}'
    create = f'mutation {{ createSegment(input: {{key: "a", name: "A", criteria: {criteria}}}) {{ segment {{ id %s }}'
    create += " userErrors { message } } }"
    assert (await api.fetch_error(create % "memberCount"))["extensions"]["code"] == "FORBIDDEN"
    api.secret = await api.create_key("write", "read")
    segment = 'mutation { updateSegment(input: {id: "%s", name: "B"}) { segment { memberCount } } }'
    found = (await api.fetch_data('{ segment(key: "a") { id } }'))["segment"]["id"]
    await api.business.run_worker()
    assert (await api.fetch_data(segment % found))["updateSegment"]["segment"] == {"memberCount": 1}


@pytest.mark.usefixtures("ann")
async def test_a_subscribe_key_reads_no_profile_and_no_origin_on_a_stream(api: Api) -> None:
    stream = (
        "subscription ($after: String) { activity(after: $after) { ... on ActivityEdge { node { type"
        " pass { id externalId %s } cause { event { type %s } } } } } }"
    )
    await api.fetch_data(RECORD % "id", input=event("visit", "v1"))
    await api.business.run_worker()
    start = (await api.fetch_data("{ activity(first: 1) { nodes { cursor } } }"))["activity"]["nodes"][0]["cursor"]
    api.secret = await api.create_key("subscribe")
    for profile, of_event, is_allowed in (
        ("status pointsBalance", "amount", True),
        ("holder { name }", "", False),
        ("holder { email phone }", "", False),
        ("fields", "", False),
        ("metadata", "", False),
        ("", "metadata", False),
        ("", "origin { ipAddress }", False),
    ):
        async with api.open_socket() as socket:
            await socket.subscribe(stream % (profile, of_event), after=start)
            message: dict[str, Any] = {"data": {"activity": {}}}
            # The first message is a heartbeat: an activity without fields.
            while message == {"data": {"activity": {}}}:
                message = (await socket.receive())["payload"]
            codes = {error["extensions"]["code"] for error in message.get("errors", ())}
            assert codes == (set() if is_allowed else {"FORBIDDEN"}), (profile, of_event, message)
            assert not any(secret in str(message) for secret in SECRETS)


@pytest.mark.usefixtures("ann")
async def test_download_addresses_need_the_scope_read(api: Api) -> None:
    job = (await api.fetch_data("mutation { exportEvents(input: {}) { job { id } } }"))["exportEvents"]["job"]["id"]
    type_and_id = from_global_id(job)
    assert type_and_id is not None
    await jobs(api.business.worker, type_and_id[1])
    cancel = 'mutation { cancelJob(input: {id: "%s"}) { job { status downloadUrl } } }'
    assert (await api.fetch_data(cancel % job))["cancelJob"]["job"]["downloadUrl"]
    api.secret = await api.create_key("write")
    assert (await api.fetch_data(cancel % job))["cancelJob"]["job"] == {"status": "SUCCEEDED", "downloadUrl": None}
    api.secret = await api.create_key("subscribe")
    async with api.open_socket() as socket:
        await socket.subscribe("subscription ($job: ID!) { jobProgress(id: $job) { status downloadUrl } }", job=job)
        assert (await socket.receive_data())["jobProgress"] == {"status": "SUCCEEDED", "downloadUrl": None}
