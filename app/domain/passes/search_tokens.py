"""Tokens by which a search finds a pass: words of its name, e-mail address, telephone number and external id.

Case, accents and punctuation make no difference. A search matches a pass if each of its words begins a token. Tokens
and searches pass through the same normalisation, so every spelling that it makes equal finds the pass.

A pass also stores beginnings of its tokens, of the lengths in `INDEXED_LENGTHS`. So an index of whole values finds the
tokens that begin with a word. (Source: docs/decisions/0120-beginnings-of-tokens-in-the-index.md.)
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.domain.errors import Code, InvalidInput
from app.domain.values.paths import iter_values, split_path
from app.domain.values.text import parse_text

from .passes import Profile

MAX_TOKENS = 100
"""Tokens of one pass. Those of holder and external id come first."""
MAX_TOKEN_LENGTH = 64
"""Characters of a token, and of a word of a search. Both are cut there, so long words still find each other."""
MAX_NAME_KEY = 32
"""Characters of a name by which lists sort passes. Names that agree in them are in the order of their passes' ids."""
NAMELESS = "\U0010ffff"
"""The sort key of a pass without a name. No name has this character, and it comes after all others."""
MAX_SEARCH_LENGTH = 200
"""Characters of a search."""
MAX_SEARCH_WORDS = 20
"""Words of a search. "anna@mail.example" has three."""
MIN_PHONE_DIGITS = 4
"""Digits from which a search for a number is also one for a telephone number."""
PHONE_ENDINGS = (7, 6, 5, 4)
"""Numbers of last digits by which people name a telephone number."""
INDEXED_LENGTHS = (2, 3, 4, 6, 8, 11, 15, 20, 30)
"""Lengths of the beginnings of tokens that a pass stores beside them."""
RARE_LENGTH = 4
"""Letters from which the beginning of a word is taken for a rare one. One with a digit is taken for rare, too."""
_ONE_DIGIT_CODES = frozenset("17")
_TWO_DIGIT_CODES = frozenset(
    "20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91 "
    "92 93 94 95 98".split()
)
"""Country codes of two digits, of ITU-T E.164. Those that begin with 1 or 7 have one digit, all others have three."""
_MIN_DIGITS_WITH_CODE = 11
"""Digits from which a number that is written without + or 00 may begin with a country code."""
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h"})
"""Letters that people type without their mark, and that Unicode does not decompose."""
_PARTS_OF_LETTERS = frozenset({0, 7, 8, 9})
"""Combining classes of marks that make another letter: vowel signs, nukta, voicing marks of kana, virama."""
_APOSTROPHES = str.maketrans(dict.fromkeys("'’‘ʼ´"))
_PHONE = re.compile(r"[\d()+./-]*")


Alternative = tuple[str, ...]
"""Words of which each must begin a token."""


@dataclass(frozen=True, slots=True)
class Search:
    """Normalised search: each term must match, by one of its alternatives. Without terms, it matches every pass."""

    terms: tuple[tuple[Alternative, ...], ...] = ()

    @property
    def has_rare_word(self) -> bool:
        """Whether few passes match one of the terms, as the beginnings of its words in the index suggest."""
        return any(all(any(map(_is_rare, words)) for words in term) for term in self.terms)

    def matches(self, tokens: Sequence[str]) -> bool:
        """Return whether a pass with these tokens matches."""
        return all(any(_begin_all(words, tokens) for words in term) for term in self.terms)


def _is_rare(word: str) -> bool:
    start = indexed_beginning(word) or ""
    return len(start) >= RARE_LENGTH or any(map(str.isdigit, start))


def _begin_all(words: Alternative, tokens: Sequence[str]) -> bool:
    return all(any(token.startswith(word) for token in tokens) for word in words)


def normalise(text: str) -> str:
    """Return a text in the form in which words are compared: in lower case, without accents, digits in ASCII."""
    if text.isascii():
        return text.lower().replace("'", "")
    plain = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    folded = unicodedata.normalize("NFKD", plain.casefold()).translate(_LETTERS)
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in folded if not _is_dropped(c))


def _is_dropped(character: str) -> bool:
    category = unicodedata.category(character)
    return category == "Cf" or (category[0] == "M" and unicodedata.combining(character) not in _PARTS_OF_LETTERS)


def _runs(chunk: str) -> list[str]:
    """Return the runs of letters and digits in a normalised text."""
    return "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in chunk).split()


def split_words(text: str) -> list[str]:
    """Return the words of a text. A chunk with punctuation inside is also one word without it: "j.doe" is "jdoe"."""
    found: list[str] = []
    for chunk in normalise(text).split():
        runs = _runs(chunk)
        found += runs
        if len(runs) > 1:
            found.append("".join(runs))
    return found


def name_key(profile: Profile) -> str:
    """Return the text by which lists sort the pass by name. Passes without a name come after all others."""
    words = [word for chunk in normalise(profile.holder.get("name") or "").split() for word in _runs(chunk)]
    return " ".join(words)[:MAX_NAME_KEY] or NAMELESS


def build_tokens(profile: Profile, external_id: str, searchable: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the tokens of a pass, each once: at most 100, sorted. `searchable` has paths of its fields."""
    holder = profile.holder
    phone = holder.get("phone") or ""
    words = [
        *split_words(holder.get("name") or ""),
        *split_words(holder.get("email") or ""),
        *_phone_tokens(phone),
        *split_words(external_id),
        *(word for text in _texts_at(profile, searchable) for word in split_words(text)),
    ]
    kept = list(dict.fromkeys(word[:MAX_TOKEN_LENGTH] for word in words))[:MAX_TOKENS]
    return tuple(sorted(kept))


def with_beginnings(tokens: Sequence[str]) -> list[str]:
    """Return tokens with those of their beginnings that the index holds, each once and sorted."""
    found = set(tokens)
    for token in tokens:
        found.update(token[:length] for length in INDEXED_LENGTHS if length < len(token))
    return sorted(found)


def indexed_beginning(word: str) -> str | None:
    """Return the longest beginning of a word that the index holds for each token that begins with the word, or None."""
    return next((word[:length] for length in reversed(INDEXED_LENGTHS) if length <= len(word)), None)


def _texts_at(profile: Profile, paths: Sequence[str]) -> Iterable[str]:
    for path in paths:
        for value in iter_values(profile.split_fields, split_path(path)):
            if isinstance(value, str):
                yield value
            elif isinstance(value, int | float) and not isinstance(value, bool):
                yield str(value)


def _phone_tokens(text: str) -> list[str]:
    """Return the spellings of a telephone number, and its last 7, 6, 5 and 4 digits."""
    digits, *others = _phone_spellings(normalise(text))
    return [each for each in (digits, *others) if each] + [digits[-n:] for n in PHONE_ENDINGS if len(digits) > n]


def _phone_spellings(text: str) -> list[str]:
    """Return the digits of a number, the first with the country code if it is written, and then those without prefixes.

    A prefix is the country code after + or 00, or the zero that callers within a country dial first. A long number
    without + and 00 may begin with a country code as well.
    """
    plain = text.replace("(0)", "")
    digits = "".join(c for c in plain if c.isdecimal())
    is_international = plain.lstrip("( ").startswith("+") or digits.startswith("00")
    digits = digits.removeprefix("00")
    national = digits.lstrip("0")
    if is_international:
        return [digits, _without_country_code(digits).lstrip("0")]
    if digits == national and len(digits) >= _MIN_DIGITS_WITH_CODE:
        return [digits, _without_country_code(digits).lstrip("0")]
    return [digits, national]


def _without_country_code(digits: str) -> str:
    length = 1 if digits[:1] in _ONE_DIGIT_CODES else 2 if digits[:2] in _TWO_DIGIT_CODES else 3
    return digits[length:]


def parse_search(raw: object, *field: str) -> Search:
    """Return a search. A text without letters and digits matches every pass.

    Raises InvalidInput for more than 200 characters, for more than 20 words, and as `parse_text` does.
    """
    if isinstance(raw, str) and (not raw or raw.isspace()):
        return Search()
    text = parse_text(raw, *field, max_length=MAX_SEARCH_LENGTH)
    terms: list[tuple[Alternative, ...]] = []
    chunks = normalise(text).split()
    while chunks:
        count = _count_phone_chunks(chunks)
        term = _number_term(chunks[:count]) if count else _word_term(chunks[0])
        terms += [term] if term else []
        del chunks[: max(1, count)]
    if sum(max(map(len, term)) for term in terms) > MAX_SEARCH_WORDS:
        message = f"A search has at most {MAX_SEARCH_WORDS} words. Leave out the frequent ones."
        raise InvalidInput(Code.TOO_MANY, message, *field)
    return Search(tuple(dict.fromkeys(terms)))


def _count_phone_chunks(chunks: Sequence[str]) -> int:
    """Return how many of the first chunks look like one telephone number; 0 if they have too few digits."""
    count = next((i for i, chunk in enumerate(chunks) if not _PHONE.fullmatch(chunk)), len(chunks))
    digits = sum(c.isdigit() for chunk in chunks[:count] for c in chunk)
    return count if digits >= MIN_PHONE_DIGITS else 0


def _word_term(chunk: str) -> tuple[Alternative, ...]:
    """Return the alternatives of a chunk: its runs of letters and digits, or all of them in one word.

    An e-mail address is one word only. Its domain alone would be a word of many passes.
    """
    runs, local = _runs(chunk), chunk.partition("@")[0]
    if not runs:
        return ()
    is_address = "@" in chunk and bool(_runs(local))
    return _unique([["".join(runs)]] if is_address else [runs, ["".join(runs)]])


def _number_term(chunks: Sequence[str]) -> tuple[Alternative, ...]:
    """Return the alternatives of what may be a telephone number: as words, and as its digits in each spelling."""
    words = [run for chunk in chunks for run in _runs(chunk)]
    spellings = (each for each in _phone_spellings(" ".join(chunks)) if each)
    return _unique([words, ["".join(words)], *([each] for each in spellings)])


def _unique(alternatives: Iterable[Sequence[str]]) -> tuple[Alternative, ...]:
    found = (tuple(dict.fromkeys(word[:MAX_TOKEN_LENGTH] for word in words)) for words in alternatives)
    return tuple(dict.fromkeys(found))
