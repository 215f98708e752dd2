"""The commands `punchcard import`, `export`, `demo` and `parked` against a running `punchcard up`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from app.cli.main import main
from tests.cli.test_main import Up, list_settings, run_up
from tests.patience import PATIENCE_SECONDS

SAMPLE = Path(__file__).parents[1] / "data" / "cdnow_sample.csv"


@pytest.fixture(scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    async with run_up(tmp_path_factory.mktemp("up")) as running:
        yield running


async def run_command(*arguments: str) -> tuple[int, str]:
    """Run a command in a thread of this process, and return its exit status and output.

    A process of its own would take a second longer. tests/cli/test_main.py runs such processes.
    """
    result = await asyncio.to_thread(CliRunner().invoke, main, arguments, env=dict.fromkeys(list_settings()))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


async def fetch_data(up: Up, query: str, key: str | None = None) -> Any:
    """Execute an operation with a key, and return its data."""
    async with httpx.AsyncClient(
        headers={"authorization": f"Bearer {key or up.key}"}, timeout=PATIENCE_SECONDS
    ) as client:
        answer = (await client.post(f"http://127.0.0.1:{up.port}/graphql", json={"query": query})).json()
    assert "errors" not in answer, answer
    return answer["data"]


async def create_workspace(up: Up) -> str:
    """Create a workspace, and return its first key."""
    status, key = await run_command("workspace", "create", "Corner Shop", "--data-dir", str(up.folder))
    assert status == 0
    return key.strip()


async def test_import_records_a_file_and_its_repeat_creates_no_events(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "purchases.csv"
    file.write_text("".join(SAMPLE.read_text().splitlines(keepends=True)[:401]))
    for expected in ("400 created, 0 duplicate, 0 failed", "0 created, 400 duplicate, 0 failed"):
        status, output = await run_command("import", str(file), "--data-dir", str(up.folder))
        assert status == 0, output
        assert expected in output.splitlines()
        assert re.search(r"passExternalId +│ +customer_id", output)
    assert await fetch_data(up, "{ events { totalCount } }") == {"events": {"totalCount": 400}}


async def test_exported_events_are_imported_into_another_workspace(up: Up, tmp_path: Path) -> None:
    """WH1-07: files come from other systems, and go back to them."""
    file, lines, feed = tmp_path / "visits.csv", tmp_path / "events.jsonl", tmp_path / "feed.csv"
    file.write_text("customer_id,date,note\nann,2026-02-01,a\nbob,2026-02-02,b\n")
    options = ["--key", await create_workspace(up), "--data-dir", str(up.folder)]
    assert (await run_command("import", str(file), *options))[0] == 0
    status, output = await run_command("export", "events", "--out", str(lines), *options)
    assert (status, output) == (0, f"2 events in {lines}\n")
    status, output = await run_command("export", "activities", "--out", str(feed), *options)
    assert (status, "To export only newer activities next time: --after " in output) == (0, True)
    other = ["--key", await create_workspace(up), "--data-dir", str(up.folder)]
    status, output = await run_command("import", str(lines), *other)
    assert (status, "2 created, 0 duplicate, 0 failed" in output) == (0, True), output
    found = await fetch_data(up, "{ events { nodes { source externalId metadata pass { externalId } } } }", other[1])
    assert found["events"]["nodes"] == [
        {"source": "import:visits.csv", "externalId": "2", "metadata": {"note": "b"}, "pass": {"externalId": "bob"}},
        {"source": "import:visits.csv", "externalId": "1", "metadata": {"note": "a"}, "pass": {"externalId": "ann"}},
    ]


async def test_options_of_import_say_how_cells_are_read(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "weights.csv"
    file.write_text("customer;points;weight\nann;1.234;2,50\n")
    options = ["--key", await create_workspace(up), "--data-dir", str(up.folder)]
    status, output = await run_command("import", str(file), *options)
    assert (status, "the value 'now'" in output) == (1, True), output
    said = ["--value", "occurredAt=now", "--decimal-mark", "COMMA", "--number", "weight"]
    status, output = await run_command("import", str(file), *said, *options)
    assert status == 0, output
    found = await fetch_data(up, "{ events { nodes { points metadata } } }", options[1])
    assert found["events"]["nodes"] == [{"points": "1234", "metadata": {"weight": 2.5}}]


async def test_import_with_failed_rows_writes_a_report_and_exits_with_1(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "visits.csv"
    file.write_text("who;day;note\nann;01.02.2026;a [bold]word\nann;never;\n")
    options = ["--key", await create_workspace(up), "--data-dir", str(up.folder)]
    mapping = ["--map", "passExternalId=who", "--value", "type=check_in", "--source", "door"]
    status, output = await run_command("import", str(file), *mapping, "--dry-run", *options)
    assert status == 1
    assert "1 would be created, 0 duplicate, 1 failed" in output
    status, output = await run_command("import", str(file), *mapping, *options)
    assert status == 1
    assert "1 created, 0 duplicate, 1 failed" in output
    assert "a [bold]word" in output
    report = re.search(r"The report says why rows failed: (\S+\.csv)", output)
    assert report is not None
    assert Path(report[1]).read_text(encoding="utf-8-sig").splitlines()[1].startswith("2,INVALID,occurredAt,")
    found = await fetch_data(up, "{ events { nodes { type source occurredAt pass { externalId } } } }", options[1])
    assert found["events"]["nodes"] == [
        {"type": "check_in", "source": "door", "occurredAt": "2026-02-01T00:00:00.000Z", "pass": {"externalId": "ann"}}
    ]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", [], "The file is empty."),
        ("a,b\n1,2\n", [], "No column looks like the customer's id"),
        ("00004,1997-01-01,29.33\n00004,1997-01-18,29.73\n", [], "The first row has to name the columns"),
        ("customer\nann\n", ["--map", "passExternalId=x"], "No such column. There are: customer."),
        ("customer\nann\n", ["--timezone", "Mars"], "no IANA time zone"),
        ("customer\nann\n", ["--map", "passExternalId"], "Write it like passExternalId=customer_id"),
        ("customer\nann\n", ["--key", "nonsense"], "The API rejected the key"),
        (
            "customer\nann\n",
            ["--endpoint", "http://127.0.0.1:9/graphql"],
            "No API answers at http://127.0.0.1:9/graphql",
        ),
    ],
)
async def test_invalid_file_or_option_of_import_is_refused_with_the_next_step(
    up: Up, tmp_path: Path, content: str, options: list[str], message: str
) -> None:
    file = tmp_path / "x.csv"
    file.write_text(content)
    status, output = await run_command("import", str(file), "--data-dir", str(up.folder), *options)
    assert status in (1, 2)
    assert message in output
    assert "Traceback" not in output


async def wait_for_mails(up: Up, key: str) -> None:
    """Wait until each mail that a rule of the demo sends is in the mailbox file and counted on its pass."""
    query = """{ rule(key: "demo-mail") { statistics { fired } } messages { totalCount }
      activity(filter: {types: ["customer.email.sent"]}) { totalCount } }"""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = await fetch_data(up, query, key)
            fired = found["rule"]["statistics"]["fired"]
            if fired and found["messages"]["totalCount"] == found["activity"]["totalCount"] == fired:
                break
            await asyncio.sleep(0.2)
    assert (up.folder / "mailbox.mbox").read_bytes().count(b"\nSubject: A coffee for you, ") == fired


async def test_demo_records_its_data_once_even_if_it_is_repeated(up: Up) -> None:
    options = ["--key", await create_workspace(up), "--data-dir", str(up.folder)]
    status, output = await run_command("demo", *options)
    assert status == 0, output
    assert " 0 were there before" in output
    await wait_for_mails(up, options[1])
    query = "{ passes { totalCount } events { totalCount } segments { nodes { key memberCount } } }"
    found = await fetch_data(up, query, options[1])
    assert found["passes"] == {"totalCount": 40}
    assert found["events"]["totalCount"] > 500
    assert all(segment["memberCount"] for segment in found["segments"]["nodes"])
    rules = (await fetch_data(up, "{ rules { nodes { key statistics { fired pointsAwarded } } } }", options[1]))[
        "rules"
    ]
    fired = {rule["key"]: rule["statistics"]["fired"] for rule in rules["nodes"]}
    assert fired.keys() == {"demo-points", "demo-tenth", "demo-mail"}
    assert fired["demo-points"]
    assert "points awarded" in output
    redeemed = """{ pass(externalId: "guest-001") { redemptions(first: 5) { nodes { rewardKey status code } } } }"""
    redemptions = (await fetch_data(up, redeemed, options[1]))["pass"]["redemptions"]["nodes"]
    assert {each["rewardKey"]: each["status"] for each in redemptions} == {
        "demo-coffee": "SUCCEEDED", "demo-machine": "FAILED",
    }  # fmt: skip
    tiers = (await fetch_data(up, "{ passes { nodes { tier } } }", options[1]))["passes"]["nodes"]
    assert {guest["tier"] for guest in tiers} == {None, "silver", "gold"}
    status, repeated = await run_command("demo", *options)
    assert status == 0
    assert "0 events recorded now" in repeated
    assert await fetch_data(up, query, options[1]) == found
    assert (await fetch_data(up, redeemed, options[1]))["pass"]["redemptions"]["nodes"] == redemptions
    # The queries that the demo prints are valid.
    for printed in re.findall(r"^# .*\n(\{[\s\S]*?)(?=\n\n|\Z)", output, re.MULTILINE):
        assert await fetch_data(up, printed, options[1])


async def test_parked_releases_no_pass_if_none_is_parked(up: Up) -> None:
    assert await run_command("parked", "--rerun", "--data-dir", str(up.folder)) == (
        0,
        "0 passes and 0 effects released.\n",
    )


async def test_file_that_no_mapping_can_repair_gets_no_advice_about_mappings(up: Up, tmp_path: Path) -> None:
    (tmp_path / "x.csv").touch()
    status, output = await run_command("import", str(tmp_path / "x.csv"), "--data-dir", str(up.folder))
    assert (status, output) == (1, "Error: x.csv cannot be imported: The file is empty.\n")


async def test_export_names_the_option_whose_value_the_api_refuses(up: Up, tmp_path: Path) -> None:
    for what, options in (
        ("events", ["--since", "yesterday"]),
        ("events", ["--until", "yesterday"]),
        ("activities", ["--after", "no cursor"]),
    ):
        file = ["--out", str(tmp_path / "out"), "--data-dir", str(up.folder)]
        status, output = await run_command("export", what, *options, *file)
        assert status == 1
        assert output.startswith(f"Error: {options[0]}: ")


def test_export_to_an_existing_file_or_with_a_foreign_option_is_refused(tmp_path: Path) -> None:
    (tmp_path / "existing").touch()
    for options, message in (
        (["events", "--out", str(tmp_path / "existing")], "exists already"),
        (
            ["events", "--out", str(tmp_path / "new"), "--after", "x"],
            "--after is only for `punchcard export activities`",
        ),
        (
            ["activities", "--out", str(tmp_path / "new"), "--source", "x"],
            "--source is only for `punchcard export events`",
        ),
    ):
        assert message in CliRunner().invoke(main, ["export", *options, "--key", "x"]).output


@pytest.mark.parametrize("command", ["import", "export", "demo", "parked"])
def test_help_of_a_command_shows_an_example(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert re.search(rf"^  +punchcard {command}\b", result.output, re.MULTILINE)
