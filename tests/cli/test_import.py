"""`punchcard import` and `punchcard demo` against a running `punchcard up`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from app.cli.main import main
from tests.cli.test_main import Up, punchcard, running

SAMPLE = Path(__file__).parents[1] / "data" / "cdnow_sample.csv"


@pytest.fixture(scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    async with running(tmp_path_factory.mktemp("up")) as started:
        yield started


async def asked(up: Up, query: str, key: str | None = None) -> Any:
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key or up.key}"}) as client:
        answer = (await client.post(f"http://127.0.0.1:{up.port}/graphql", json={"query": query})).json()
    assert "errors" not in answer, answer
    return answer["data"]


async def workspace(up: Up) -> str:
    """The key of a new workspace."""
    status, key = await punchcard("workspace", "create", "Corner Shop", "--data-dir", str(up.folder))
    assert status == 0
    return key.strip()


async def test_a_file_is_imported_by_one_command_and_again_creates_nothing(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "purchases.csv"
    file.write_text("".join(SAMPLE.read_text().splitlines(keepends=True)[:401]))
    for expected in ("400 created, 0 duplicate, 0 failed", "0 created, 400 duplicate, 0 failed"):
        status, output = await punchcard("import", str(file), "--data-dir", str(up.folder))
        assert status == 0, output
        assert expected in output.splitlines()
        assert re.search(r"passExternalId +│ +customer_id", output)
    assert await asked(up, "{ events { totalCount } }") == {"events": {"totalCount": 400}}


async def test_what_is_exported_by_one_command_is_imported_by_another(up: Up, tmp_path: Path) -> None:
    """WH1-07: from other systems, and back to them."""
    file, lines, feed = tmp_path / "visits.csv", tmp_path / "events.jsonl", tmp_path / "feed.csv"
    file.write_text("customer_id,date,note\nann,2026-02-01,a\nbob,2026-02-02,b\n")
    options = ["--key", await workspace(up), "--data-dir", str(up.folder)]
    assert (await punchcard("import", str(file), *options))[0] == 0
    status, output = await punchcard("export", "events", "--out", str(lines), *options)
    assert (status, output) == (0, f"2 events in {lines}\n")
    status, output = await punchcard("export", "activities", "--out", str(feed), *options)
    assert (status, "To go on from there: --after " in output) == (0, True)
    other = ["--key", await workspace(up), "--data-dir", str(up.folder)]
    status, output = await punchcard("import", str(lines), *other)
    assert (status, "2 created, 0 duplicate, 0 failed" in output) == (0, True), output
    found = await asked(up, "{ events { nodes { source externalId metadata pass { externalId } } } }", other[1])
    assert found["events"]["nodes"] == [
        {"source": "import:visits.csv", "externalId": "2", "metadata": {"note": "b"}, "pass": {"externalId": "bob"}},
        {"source": "import:visits.csv", "externalId": "1", "metadata": {"note": "a"}, "pass": {"externalId": "ann"}},
    ]


async def test_rows_that_fail_are_reported_and_make_the_status_1(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "visits.csv"
    file.write_text("who;day;note\nann;01.02.2026;a [bold]word\nann;never;\n")
    options = ["--key", await workspace(up), "--data-dir", str(up.folder)]
    told = ["--map", "passExternalId=who", "--value", "type=check_in", "--source", "door"]
    status, output = await punchcard("import", str(file), *told, "--dry-run", *options)
    assert status == 1
    assert "1 would be created, 0 duplicate, 1 failed" in output
    status, output = await punchcard("import", str(file), *told, *options)
    assert status == 1
    assert "1 created, 0 duplicate, 1 failed" in output
    assert "a [bold]word" in output
    report = re.search(r"Why rows failed: (\S+\.csv)", output)
    assert report is not None
    assert Path(report[1]).read_text(encoding="utf-8-sig").splitlines()[1].startswith("2,INVALID,occurredAt,")
    found = await asked(up, "{ events { nodes { type source occurredAt pass { externalId } } } }", options[1])
    assert found["events"]["nodes"] == [
        {"type": "check_in", "source": "door", "occurredAt": "2026-02-01T00:00:00Z", "pass": {"externalId": "ann"}}
    ]


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("", [], "The file is empty."),
        ("a,b\n1,2\n", [], "No column looks like the customer's id"),
        ("00004,1997-01-01,29.33\n00004,1997-01-18,29.73\n", [], "The first row has to name the columns"),
        ("customer\nann\n", ["--map", "passExternalId=x"], "No such column. There are: customer."),
        ("customer\nann\n", ["--timezone", "Mars"], "No such time zone"),
        ("customer\nann\n", ["--map", "passExternalId"], "write it like passExternalId=customer_id"),
        ("customer\nann\n", ["--key", "nonsense"], "The API refused the key"),
        (
            "customer\nann\n",
            ["--endpoint", "http://127.0.0.1:9/graphql"],
            "No API answers at http://127.0.0.1:9/graphql",
        ),
    ],
)
async def test_what_cannot_be_imported_is_told_with_the_way_out(
    up: Up, tmp_path: Path, content: str, options: list[str], said: str
) -> None:
    file = tmp_path / "x.csv"
    file.write_text(content)
    status, output = await punchcard("import", str(file), "--data-dir", str(up.folder), *options)
    assert status in (1, 2)
    assert said in output
    assert "Traceback" not in output


async def test_the_demo_is_there_after_one_command_and_not_doubled_by_a_second(up: Up) -> None:
    options = ["--key", await workspace(up), "--data-dir", str(up.folder)]
    status, output = await punchcard("demo", *options)
    assert status == 0, output
    assert " 0 were there before" in output
    query = "{ passes { totalCount } events { totalCount } segments { nodes { key memberCount } } }"
    found = await asked(up, query, options[1])
    assert found["passes"] == {"totalCount": 40}
    assert found["events"]["totalCount"] > 500
    assert all(segment["memberCount"] for segment in found["segments"]["nodes"])
    status, again = await punchcard("demo", *options)
    assert status == 0
    assert "0 events recorded now" in again
    assert await asked(up, query, options[1]) == found
    for pasted in re.findall(r"^# .*\n(\{[\s\S]*?)(?=\n\n|\Z)", output, re.MULTILINE):
        assert await asked(up, pasted, options[1])


async def test_nothing_is_parked_in_a_healthy_folder(up: Up) -> None:
    assert await punchcard("parked", "--rerun", "--data-dir", str(up.folder)) == (0, "0 passes run again.\n")


def test_an_export_writes_over_nothing_and_takes_no_option_of_the_other_kind(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    for options, said in (
        (["events", "--out", str(tmp_path / "there")], "is there already"),
        (["events", "--out", str(tmp_path / "new"), "--after", "x"], "--after is for activities only"),
        (["activities", "--out", str(tmp_path / "new"), "--source", "x"], "--source is for events only"),
    ):
        assert said in CliRunner().invoke(main, ["export", *options, "--key", "x"]).output


@pytest.mark.parametrize("command", ["import", "export", "demo", "parked"])
def test_help_shows_an_example(command: str) -> None:
    shown = CliRunner().invoke(main, [command, "--help"])
    assert shown.exit_code == 0
    assert re.search(rf"^  +punchcard {command}\b", shown.output, re.MULTILINE)
