"""States of measures in the document of a pass. Each conversion has its inverse."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from app.domain.state.calendars import PeriodValues, Streak
from app.domain.state.completed import Completed, Key
from app.domain.state.distinct import HASH_CHARACTERS, Distinct, ValueSet
from app.domain.state.extremes import Extremes
from app.domain.state.measures import FirstAndLast, State, Total
from app.domain.state.numbers import Mean, Number, Weight
from app.domain.state.windows import Window
from app.store.mongo.queries import Doc

from .pass_parts import from_bson, to_bson


def state_to_doc(state: State) -> Doc:
    """Return the document of a measure's state.

    - {t}: a total. A mean is a list of its sum and its count.
    - {f, l}: the first and the last instant.
    - {v, i, w, m}: a window.
    - {x, i, g, u}: extremes, with the indexes of gaps and whether the greatest value is sought.
    - {h, i}: distinct values.
    - {s, e}: the steps of a sequence, and its latest events.
    - {p, w}: calendar periods. {p, d} if the values are sets: the hashes of each as one text, null for more than 100.
    - {k, b}: a streak.
    """
    match state:
        case Total(value):
            return {"t": _weight_to_bson(value)}
        case FirstAndLast(first, last):
            return {"f": first, "l": last}
        case Window():
            return {
                "v": _weight_to_bson(state.value),
                "i": list(state.instants),
                "w": [_weight_to_bson(weight) for weight in state.weights],
                "m": state.has_more,
            }
        case Extremes():
            return {
                "x": [to_bson(value) for value in state.values],
                "i": list(state.instants),
                "g": [index for index, has_gap in enumerate(state.gaps) if has_gap],
                "u": state.is_greatest,
            }
        case Completed(steps, seen):
            return {"s": list(map(_key_to_bson, steps)), "e": list(map(_key_to_bson, seen))}
        case Distinct(hashes, instants):
            return {"h": list(hashes), "i": list(instants)}
        case PeriodValues(firsts, values):
            sets = [value for value in values if isinstance(value, ValueSet)]
            if sets:
                return {"p": list(firsts), "d": [None if each.has_more else "".join(each.hashes) for each in sets]}
            weights = [_weight_to_bson(value) for value in values if not isinstance(value, ValueSet)]
            return {"p": list(firsts), "w": weights}
        case Streak(last, bits):
            return {"k": last, "b": bits}


def state_from_doc(doc: Doc) -> State:
    """Return the measure's state of a document."""
    if "t" in doc:
        return Total(_weight_from_bson(doc["t"]))
    if "f" in doc:
        return FirstAndLast(doc["f"], doc["l"])
    if "x" in doc:
        values = tuple(Decimal(_number_from_bson(value)) for value in doc["x"])
        gaps = tuple(index in doc["g"] for index in range(len(values)))
        return Extremes(tuple(doc["i"]), values, gaps, is_greatest=doc["u"])
    if "s" in doc:
        return Completed(tuple(map(_key_from_bson, doc["s"])), tuple(map(_key_from_bson, doc["e"])))
    if "h" in doc:
        return Distinct(tuple(doc["h"]), tuple(doc["i"]))
    if "d" in doc:
        return PeriodValues(tuple(doc["p"]), tuple(map(_value_set_from_bson, doc["d"])))
    if "p" in doc:
        return PeriodValues(tuple(doc["p"]), tuple(map(_weight_from_bson, doc["w"])))
    if "k" in doc:
        return Streak(doc["k"], doc["b"])
    return Window(
        value=_weight_from_bson(doc["v"]),
        instants=tuple(doc["i"]),
        weights=tuple(_weight_from_bson(w) for w in doc["w"]),
        has_more=doc["m"],
    )


def _key_to_bson(key: Key | None) -> Any:
    return None if key is None else list(key)


def _key_from_bson(value: Any) -> Key | None:
    return None if value is None else (value[0], value[1], value[2])


def _weight_to_bson(value: Weight) -> Any:
    return [to_bson(value.total), value.count] if isinstance(value, Mean) else to_bson(value)


def _weight_from_bson(value: Any) -> Weight:
    return Mean(Decimal(_number_from_bson(value[0])), value[1]) if isinstance(value, list) else _number_from_bson(value)


def _value_set_from_bson(value: Any) -> ValueSet:
    if value is None:
        return ValueSet((), has_more=True)
    return ValueSet(tuple(value[start : start + HASH_CHARACTERS] for start in range(0, len(value), HASH_CHARACTERS)))


def _number_from_bson(value: Any) -> Number:
    found: Number = Decimal(value) if isinstance(value, str) else from_bson(value)
    return found
