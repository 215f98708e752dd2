"""Searches find customers in whatever spelling."""

from __future__ import annotations

import pytest

from app.domain.errors import Code, InvalidInput
from app.domain.passes.passes import Profile
from app.domain.passes.search_tokens import (
    INDEXED_LENGTHS,
    MAX_TOKEN_LENGTH,
    MAX_TOKENS,
    NAMELESS,
    build_tokens,
    indexed_beginning,
    name_key,
    parse_search,
    with_beginnings,
)

GERMAN = ("+49 (0)170 123-4567", "0049 170 1234567", "0170/1234567", "+491701234567", "170 1234567", "491701234567")
AMERICAN = ("+1 (555) 123-4567", "1-555-123-4567", "555.123.4567", "(555) 123 4567", "0015551234567")


def customer(**holder: str) -> Profile:
    return Profile(holder=holder)


def finds(search: str, profile: Profile, external_id: str = "c-1042") -> bool:
    return parse_search(search).matches(build_tokens(profile, external_id))


@pytest.mark.parametrize("stored", [*GERMAN, *AMERICAN])
def test_telephone_number_is_found_in_every_spelling_and_by_its_last_digits(stored: str) -> None:
    profile = customer(phone=stored)
    spellings = GERMAN if stored in GERMAN else AMERICAN
    endings = ("1234567", "123-4567", "234567", "23 45 67", "34567", "4567")
    assert [text for text in (*spellings, *endings) if not finds(text, profile)] == []
    assert not finds("1234568", profile)


@pytest.mark.parametrize("search", ["0170 12", "+49 170", "0049170", "ann 0170/123", "0170 1234567 ann"])
def test_beginning_of_a_telephone_number_finds_it_beside_other_words(search: str) -> None:
    assert finds(search, customer(name="Ann", phone=GERMAN[0]))


@pytest.mark.parametrize(
    ("name", "search"),
    [
        ("Jürgen O'Brien-Łukasz", "jurgen obrien"),
        ("Jürgen O’Brien-Łukasz", "o'brien-luk JÜR"),
        ("Anne-Marie", "annemarie"),
        ("Annemarie", "anne-marie"),
        ("İstanbul Şahin", "istanbul sahin"),
        ("Straße", "STRASSE"),
        ("Søren Æbelø", "soren aebelo"),
        ("Zoë", "zoe\u0308"),
        ("Zoe\u0308", "zoë"),
        ("Ｆｕｌｌ", "full"),
        ("田中太郎", "田中"),
        ("Иван Йорк", "иван йо"),
        ("Αθηνά", "αθην"),
        ("राम प्रसाद", "प्रसा"),
        ("محمّد", "محمد"),
        ("김철수", "김철"),
        ("Ann\u00adMary", "annmary"),
        ("Nr ٤٢", "42"),
    ],
)
def test_case_accents_and_punctuation_make_no_difference_in_any_alphabet(name: str, search: str) -> None:
    assert finds(search, customer(name=name))


def test_words_are_found_by_their_beginnings_and_all_of_them_must_match() -> None:
    profile = customer(name="Ann Smith", email="ann.smith@mail.example")
    for search in ("smi", "a s", "ann.smith@mail.example", "annsmith@mail", "@mail.example", "C-1042", "c1042", "1042"):
        assert finds(search, profile), search
    for search in ("mith", "ann jones", "ann x", "042", "annx"):
        assert not finds(search, profile), search


@pytest.mark.parametrize("search", ["", "  ", "---", ".*", "(?:)", "^$", "'", "😀"])
def test_search_without_letters_and_digits_matches_every_pass(search: str) -> None:
    assert parse_search(search).terms == ()
    assert finds(search, Profile())


@pytest.mark.parametrize("search", ["a.*h", "ann|bob", "[a-z]+", "\\w", "an$"])
def test_signs_of_regular_expressions_only_separate_words(search: str) -> None:
    assert not finds(search.replace("an$", "an$x"), customer(name="Ann Smith"))
    assert finds("a.*s", customer(name="Ann Smith")), "two words, a and s"


@pytest.mark.parametrize(
    ("search", "code"),
    [
        ("x" * 10_000, Code.TOO_LONG),
        (" ".join(map(str, range(10, 31))), Code.TOO_MANY),
        ("ann\x00", Code.INVALID),
        (7, Code.INVALID),
    ],
)
def test_search_that_is_too_long_or_no_text_is_refused(search: object, code: Code) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_search(search, "filter", "search")
    assert [(problem.code, problem.field) for problem in refused.value.problems] == [(code, ("filter", "search"))]


def test_tokens_and_their_beginnings_are_bounded() -> None:
    profile = customer(name=" ".join(f"name{n}" for n in range(300)), email="x" * 250)
    tokens = build_tokens(profile, "c1")
    assert len(tokens) == MAX_TOKENS
    assert max(map(len, build_tokens(customer(email="x" * 250), "c1"))) == MAX_TOKEN_LENGTH
    assert len(with_beginnings(tokens)) <= MAX_TOKENS * (1 + len(INDEXED_LENGTHS))
    assert finds("x" * 200, customer(email="x" * 250)), "words are cut as tokens are"


def test_index_holds_the_longest_beginning_of_each_word() -> None:
    stored = with_beginnings(("smith", "jo", "o", "constantine"))
    assert [
        word for word in ("smith", "smit", "smi", "sm", "jo", "constantine") if indexed_beginning(word) not in stored
    ] == []
    assert indexed_beginning("o") is None
    assert indexed_beginning("constantinople") == "constantino"


def test_searchable_fields_give_tokens_of_texts_and_numbers() -> None:
    profile = Profile(fields={"member": {"no": "B-77"}, "cars.plate": ["M-XY 12", "KA 9"], "age": 41, "vip": True})
    tokens = build_tokens(profile, "c1", ("member.no", "cars.plate", "age", "vip", "none"))
    assert parse_search("b77 ka 41").matches(tokens)
    assert "true" not in tokens
    assert not parse_search("b77").matches(build_tokens(profile, "c1"))


def test_names_are_sorted_without_case_and_accents_and_passes_without_one_last() -> None:
    names = ["Zoë", "ada Lovelace", "Émile", "Ada-Byron", "O'Brien", ""]
    ordered = sorted(names, key=lambda name: name_key(customer(name=name) if name else Profile()))
    assert ordered == ["Ada-Byron", "ada Lovelace", "Émile", "O'Brien", "Zoë", ""]
    assert name_key(Profile()) == NAMELESS
