"""Filters and pages of Describe actions (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from labnet.ec2.rules.request import Params, invalid
from labnet.errors import Ec2Error

T = TypeVar("T")
Field = Callable[[T], Iterable[str]]
MIN_PAGE, MAX_PAGE = 5, 1000


def matching(items: Iterable[T], params: Params, fields: Mapping[str, Field[T]], tags: Callable[[T], Mapping[str, str]]) -> list[T]:
    """The items that pass every filter: any of its values, `*` and `?` as wildcards. Errors: Ec2Error for an unknown filter."""
    kept = list(items)
    for item in params.get("Filters") or ():
        name, values = str(item.get("Name", "")), [str(value) for value in item.get("Values", ())]
        read = _reader(name, fields, tags)
        tests = [_pattern(value) for value in values]
        kept = [one for one in kept if any(test.fullmatch(text) for text in read(one) for test in tests)]
    return kept


def _reader(name: str, fields: Mapping[str, Field[T]], tags: Callable[[T], Mapping[str, str]]) -> Field[T]:
    if name in fields:
        return fields[name]
    if name == "tag-key":
        return lambda one: tags(one).keys()
    if name == "tag-value":
        return lambda one: tags(one).values()
    if name.startswith("tag:"):
        key = name[4:]
        return lambda one: (tags(one)[key],) if key in tags(one) else ()
    raise invalid(f"The filter '{name}' is invalid")


@lru_cache(maxsize=256)
def _pattern(value: str) -> re.Pattern[str]:
    """`*` and `?` are wildcards, a backslash takes their meaning away."""
    out = []
    escaped = False
    for letter in value:
        if escaped:
            out.append(re.escape(letter))
            escaped = False
        elif letter == "\\":
            escaped = True
        else:
            out.append({"*": ".*", "?": "."}.get(letter, re.escape(letter)))
    return re.compile("".join(out), re.DOTALL)


def page_or_ids(params: Params, name: str, said: str) -> None:
    """Refuse a page's size together with a list of ids. `said` is what EC2 calls that list. Errors: Ec2Error."""
    if params.get(name) and params.get("MaxResults") is not None:
        raise Ec2Error("InvalidParameterCombination", f"The parameter {said} cannot be used with the parameter maxResults")


def page(items: Sequence[T], params: Params, largest: int = MAX_PAGE) -> tuple[Sequence[T], dict[str, Any]]:
    """One page and the member NextToken where there is more. Errors: Ec2Error."""
    start = 0
    if params.get("NextToken"):
        found = re.fullmatch(r"labnet-(\d+)", str(params["NextToken"]))
        if found is None:
            raise Ec2Error("InvalidNextToken", f"The token '{params['NextToken']}' is invalid")
        start = int(found[1])
    size = params.get("MaxResults")
    if size is None:
        return items[start:], {}
    if not MIN_PAGE <= int(size) <= largest:
        raise invalid(f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value between {MIN_PAGE} and {largest}.")
    end = start + int(size)
    return items[start:end], ({"NextToken": f"labnet-{end}"} if end < len(items) else {})


def chosen(objects: Mapping[str, T], ids: Iterable[str] | None, missing: Callable[[str], Ec2Error]) -> list[T]:
    """The objects of some ids, or all. Errors: `missing` for the first that is not there."""
    if not ids:
        return list(objects.values())
    wanted = list(dict.fromkeys(ids))
    for one in wanted:
        if one not in objects:
            raise missing(one)
    return [objects[one] for one in wanted]
