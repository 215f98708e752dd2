"""What the API answers if the store refuses a command for good, and if it does not answer."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from tests.business import Business
from tests.graphql.serving import Api, run_api
from tests.store_proxy import StoreProxy

CREATE = 'mutation { createPass(input: {externalId: "secret"}) { pass { id } userErrors { code } } }'


@pytest.fixture
async def api(proxied: Business) -> AsyncIterator[Api]:
    async with run_api(proxied) as running:
        yield running


async def test_refusal_of_the_store_is_internal_with_a_reference_to_one_line_of_the_log(
    api: Api, proxy: StoreProxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.fail_writes("insert", "passes", code=121)
    with caplog.at_level(logging.INFO):
        error = await api.fetch_error(CREATE)
    assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    lines = [
        record.getMessage() for record in caplog.records if error["extensions"]["reference"] in record.getMessage()
    ]
    assert len(lines) == 1
    assert "code=121 codeName=DocumentValidationFailure command=insert collection=passes" in lines[0]
    assert "secret" not in "".join(record.getMessage() for record in caplog.records)


async def test_transient_error_of_the_store_is_unavailable_and_a_repeat_succeeds(api: Api, proxy: StoreProxy) -> None:
    proxy.fail("insert", "passes", code=112, code_name="WriteConflict")
    assert (await api.fetch_error(CREATE))["extensions"]["code"] == "UNAVAILABLE"
    created = (await api.fetch_data(CREATE))["createPass"]
    assert created["userErrors"] == []
