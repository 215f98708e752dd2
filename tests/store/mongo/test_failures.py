"""Errors of the driver: what is transient, what is permanent, and what the log says about either."""

from __future__ import annotations

import logging

import pytest
from bson.errors import InvalidDocument
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    DocumentTooLarge,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
    WriteConcernError,
)

from app.domain.errors import StoreRefused, Unavailable
from app.store.mongo.failures import OUTAGE_LOG_SECONDS, REFUSAL_LOG_SECONDS, FailureLog, describe_outage, find_refusal
from tests.business import Business
from tests.store_proxy import StoreProxy

LOGGER = "punchcard.store"


def write_errors(*codes: int, concern: bool = False) -> BulkWriteError:
    concerns = [{"code": 64, "errmsg": "waiting timed out"}] if concern else []
    failures = [{"index": 0, "code": code, "errmsg": "x"} for code in codes]
    return BulkWriteError({"writeErrors": failures, "writeConcernErrors": concerns})


@pytest.mark.parametrize(
    "error",
    [
        *(OperationFailure("x", code) for code in (91, 189, 10107, 11600, 11602, 13435, 13436, 50, 262, 112, 365)),
        OperationFailure("x", 4711, {"errorLabels": ["RetryableWriteError"]}),
        OperationFailure("x", 4711, {"writeConcernError": {"code": 100}}),
        WriteConcernError("x", 100),
        AutoReconnect("x"),
        NotPrimaryError("x"),
        ServerSelectionTimeoutError("x"),
        write_errors(112),
        write_errors(11000),
        write_errors(121, concern=True),
    ],
    ids=repr,
)
def test_error_after_which_a_repeat_may_succeed_is_no_refusal(error: Exception) -> None:
    assert find_refusal(error) is None


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (OperationFailure("x", 13, {"codeName": "Unauthorized"}), (13, "Unauthorized")),
        (OperationFailure("x", 18, {"codeName": "AuthenticationFailed"}), (18, "AuthenticationFailed")),
        (OperationFailure("x", 4711), (4711, "error 4711")),
        (write_errors(11000, 121), (121, "DocumentValidationFailure")),
        (write_errors(17419), (17419, "BSONObjectTooLarge")),
        (DocumentTooLarge("x"), (10334, "BSONObjectTooLarge")),
        (InvalidDocument("x"), (None, "InvalidDocument")),
        (ConfigurationError("x"), (None, "ConfigurationError")),
    ],
    ids=repr,
)
def test_other_errors_are_refusals_with_code_and_name(error: Exception, refusal: tuple[int | None, str]) -> None:
    assert find_refusal(error) == refusal


def test_outages_are_logged_once_in_ten_seconds_with_their_cause(caplog: pytest.LogCaptureFixture) -> None:
    clock = [100.0]
    log = FailureLog(lambda: clock[0])
    text = "10.0.0.1:27017: [Errno 111] Connection refused (configured timeouts: connectTimeoutMS: 2000.0ms)"
    with caplog.at_level(logging.WARNING, LOGGER):
        for _ in range(3):
            assert isinstance(log.translate(AutoReconnect(text), "FoldQueries.pending"), Unavailable)
        clock[0] += OUTAGE_LOG_SECONDS
        log.translate(OperationFailure('value "secret"', 91, {"codeName": "ShutdownInProgress"}), "FoldQueries.save")
    first, second = (record.getMessage() for record in caplog.records)
    assert "AutoReconnect: 10.0.0.1:27017: [Errno 111] Connection refused;" in first
    assert "query=FoldQueries.pending" in first
    assert "ShutdownInProgress (code 91)" in second
    assert "2 more failed calls" in second
    assert "secret" not in second


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("refused \"secret\", full error: {'ok': 0.0, 'code': 189, 'errmsg': 'x'}", ": PrimarySteppedDown (code 189)"),
        ("refused \"secret\", full error: {'ok': 0.0}", ""),
        ("10.0.0.1:27017: connection closed", ": 10.0.0.1:27017: connection closed"),
    ],
)
def test_cause_of_a_failed_search_for_a_primary_names_the_code_only(text: str, cause: str) -> None:
    """The driver quotes the error of the store that made it search."""
    error = ServerSelectionTimeoutError(f"{text}, Timeout: 4.0s, Topology Description: <TopologyDescription 'secret'>")
    assert describe_outage(error) == f"ServerSelectionTimeoutError{cause}"


def test_equal_refusals_of_a_minute_share_one_line_and_its_reference(caplog: pytest.LogCaptureFixture) -> None:
    clock = [100.0]
    log = FailureLog(lambda: clock[0])

    def refuse(code: int) -> str:
        error = log.translate(OperationFailure('value "secret"', code, {"codeName": "Unauthorized"}), "q")
        assert isinstance(error, StoreRefused)
        return error.reference

    with caplog.at_level(logging.ERROR, LOGGER):
        references = [refuse(13), refuse(13), refuse(14)]
        clock[0] += REFUSAL_LOG_SECONDS
        references.append(refuse(13))
    assert references[0] == references[1]
    assert len(set(references)) == len(caplog.records) == 3
    assert "secret" not in caplog.text


async def test_refusal_is_logged_once_with_command_and_collection_but_no_value(
    proxied: Business, proxy: StoreProxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.fail("find", "events", code=13, code_name="Unauthorized", message='no access to "secret"')
    with caplog.at_level(logging.WARNING), pytest.raises(StoreRefused, match=r"Unauthorized \(code 13\)") as refused:
        await proxied.worker.fold_queries.pending(0, 63, None, 10)
    [line] = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert "code=13 codeName=Unauthorized command=find collection=events query=PendingQueries.pending" in line
    assert refused.value.reference in line
    assert "secret" not in caplog.text
    assert refused.value.__suppress_context__


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("code", [10107, 91, 189, 112])
async def test_write_that_meets_an_election_is_unavailable_and_safe_to_repeat(
    proxied: Business, proxy: StoreProxy, code: int, after_effect: bool
) -> None:
    proxy.fail("insert", "events", code=code, after_effect=after_effect)
    with pytest.raises(Unavailable):
        await proxied.record({"amount": 1, "external_id": "a"})
    await proxied.record({"amount": 1, "external_id": "a"})
    await proxied.run_worker()
    assert (await proxied.read_pass()).aggregates["purchase", "USD"].count == 1


async def test_write_whose_write_concern_fails_is_unavailable(proxied: Business, proxy: StoreProxy) -> None:
    proxy.fail_write_concern("insert", "events")
    with pytest.raises(Unavailable):
        await proxied.record({"amount": 1, "external_id": "a"})
    await proxied.record({"amount": 1, "external_id": "a"})
    await proxied.run_worker()
    assert (await proxied.read_pass()).aggregates["purchase", "USD"].count == 1


@pytest.mark.parametrize(("code", "raised"), [(112, Unavailable), (13, StoreRefused)])
async def test_errors_while_a_list_is_streamed_are_translated_too(
    proxied: Business, proxy: StoreProxy, code: int, raised: type[Exception]
) -> None:
    proxy.fail("find", "job_files", code=code)
    with pytest.raises(raised):
        async for _ in proxied.ctx.workspace.jobs.report("job_1"):
            pass
