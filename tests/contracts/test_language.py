"""Rules for the language of code, schema, documentation and commits (docs/glossary.md, CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType

from app.graphql.schema import schema
from tests.contracts.language import MAX_WORDS, RETIRED, ROOT, Text, texts_of

FOLDERS = ("app", "workers", "bench", "tests", "docs")
STRAWBERRY = ("strawberry.type", "strawberry.input", "strawberry.interface")
RETIRED_CEILING = 1
"""Uses of retired words in docstrings and comments that the check still allows. Never raise this number."""
LAST_UNCHECKED_COMMIT = "cc3db9f"
"""The check skips the subjects of this commit and of those before it, because history cannot be changed."""


def list_sources(*folders: str) -> list[Path]:
    """Return the Python files of the folders, sorted by path in each folder."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def parse_sources(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield each Python file of the folders with its syntax tree."""
    for path in list_sources(*folders):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def find_long_sentences(texts: Iterator[Text] | list[Text]) -> list[str]:
    """Return each sentence of more than MAX_WORDS words, with its path and line."""
    return [
        f"{text.where}: {len(sentence.split())} words: {sentence[:100]}"
        for text in texts
        for sentence in text.sentences()
        if len(sentence.split()) > MAX_WORDS
    ]


def read_descriptions() -> Iterator[Text]:
    """Yield each description of the schema."""
    for kind in schema.type_map.values():
        if kind.name.startswith("__"):
            continue
        yield Text("schema.graphql", 0, kind.name, kind.description or "")
        if isinstance(kind, GraphQLEnumType):
            for name, value in kind.values.items():
                yield Text("schema.graphql", 0, f"{kind.name}.{name}", value.description or "")
        if isinstance(kind, (GraphQLObjectType, GraphQLInterfaceType, GraphQLInputObjectType)):
            for name, field in kind.fields.items():
                yield Text("schema.graphql", 0, f"{kind.name}.{name}", field.description or "")


def read_pages() -> Iterator[Text]:
    """Yield the pages of the documentation without code blocks and tables."""
    for path in [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]:
        text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"^\s*\|.*$", "", text, flags=re.MULTILINE)
        yield Text(path.relative_to(ROOT).as_posix(), 0, "page", text)


@pytest.mark.parametrize("folder", FOLDERS)
def test_sentences_of_docstrings_and_comments_are_short(folder: str) -> None:
    found = find_long_sentences([text for path in list_sources(folder) for text in texts_of(path)])
    assert not found, "\n".join(found)


def test_sentences_of_schema_descriptions_are_short() -> None:
    found = [f"{text.kind}: {text.text}" for text in read_descriptions() if find_long_sentences([text])]
    assert not found, "\n".join(found)


def test_sentences_of_pages_are_short() -> None:
    found = find_long_sentences(read_pages())
    assert not found, "\n".join(found)


def test_retired_words_in_docstrings_and_comments_do_not_exceed_the_ceiling() -> None:
    texts = [text for path in list_sources("app", "workers", "bench") for text in texts_of(path)]
    found = [f"{text.where}: {match.group()}" for text in texts for match in RETIRED.finditer(text.text)]
    assert len(found) <= RETIRED_CEILING, "\n".join(found)


def test_schema_descriptions_have_no_retired_words() -> None:
    found = [f"{text.kind}: {text.text}" for text in read_descriptions() if RETIRED.search(text.text)]
    assert not found, "\n".join(found)


def test_schema_descriptions_are_written_as_docstrings_only() -> None:
    found: list[str] = []
    for path, tree in parse_sources("app/graphql"):
        for node in ast.walk(tree):
            decorators = getattr(node, "decorator_list", [])
            calls = [each for each in decorators if isinstance(each, ast.Call)]
            if isinstance(node, ast.Call) and any(keyword.arg == "resolver" for keyword in node.keywords):
                calls.append(node)
            described = (call for call in calls if any(keyword.arg == "description" for keyword in call.keywords))
            found.extend(f"{path}:{call.lineno}" for call in described)
    assert not found, "\n".join(found)


def test_own_names_are_not_imported_under_another_name() -> None:
    modules = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in list_sources(*FOLDERS)}
    packages = {module.rpartition(".__init__")[0] for module in modules if module.endswith(".__init__")}
    found = []
    for path, tree in parse_sources("app", "workers", "bench"):
        package = path.split("/")[:-1]
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom):
                continue
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            if source.split(".")[0] not in FOLDERS:
                continue
            for alias in node.names:
                full = f"{source}.{alias.name}"
                if alias.asname and full not in modules | packages:
                    found.append(f"{path}:{node.lineno}: {full} as {alias.asname}")
    assert not found, "\n".join(found)


def test_constructors_take_at_most_three_positional_arguments() -> None:
    """The check leaves out error classes: they take the path of a field as further positional arguments."""
    classes = {
        node.name
        for path, tree in parse_sources("app", "workers")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and path != "app/domain/errors.py"
    }
    found = [
        f"{path}:{node.lineno}: {ast.unparse(node.func)}"
        for path, tree in parse_sources("app", "workers")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and sum(not isinstance(argument, ast.Starred) for argument in node.args) > 3
        and ast.unparse(node.func).split(".")[-1] in classes
    ]
    assert not found, "\n".join(found)


def test_test_names_have_at_most_80_characters() -> None:
    found = [
        f"{path}:{node.lineno}: {node.name}"
        for path, tree in parse_sources("tests")
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
        and len(node.name) > 80
    ]
    assert not found, "\n".join(found)


def test_commit_subjects_are_short_and_start_with_a_verb() -> None:
    ran = subprocess.run(
        ["git", "log", "--no-merges", "--format=%s", f"{LAST_UNCHECKED_COMMIT}..HEAD"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ran.returncode:
        pytest.skip("this copy has no git history")
    nouns = re.compile(r"(A|An|The|What|Whether|Who|Which|Where|How|When|This|That|Each|All|Every|No|There|It|Its)\b")
    found = [subject for subject in ran.stdout.splitlines() if len(subject) > 72 or nouns.match(subject)]
    assert not found, "\n".join(found)


def test_module_names_are_unique_in_their_package() -> None:
    """A module must not have the name of another module or of a folder beside it."""
    counts = Counter(path.with_suffix("") for path in list_sources("app", "workers"))
    assert [path for path, count in counts.items() if count > 1 or path.is_dir()] == []
