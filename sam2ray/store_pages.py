"""One level of a remote store -> facts about its files and folders, by the page where it has pages.

S3 is asked for its pages one by one: ten million objects of a level never lie in memory, and a page
that does not come is asked for again by itself. Other stores give a level in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Facts = Mapping[str, Any]
Ask = Callable[[Callable[[], Any]], Any]
"""Asks a store patiently."""


def facts_of_level(
    fs: Any,  # noqa: ANN401 fsspec has no types
    path: str,
    ask: Ask,
    after: str = "",
) -> Iterator[Facts]:
    """Files and folders as fsspec describes them; FileNotFoundError if there is nothing.

    S3 may begin behind a name.
    """
    if "s3" in fs.protocol:
        yield from _pages_of_s3(fs, path, ask, after)
        return

    def look() -> Sequence[Facts]:
        fs.invalidate_cache()  # a worker that listed this before would believe its own list
        return fs.ls(path, detail=True)

    yield from sorted(ask(look), key=lambda facts: facts["name"])


def _pages_of_s3(
    fs: Any,  # noqa: ANN401 fsspec has no types
    path: str,
    ask: Ask,
    after: str,
) -> Iterator[Facts]:
    bucket, key, _ = fs.split_path(path)
    question = {"Bucket": bucket, "Prefix": f"{key}/" if key else "", "Delimiter": "/"}
    if after:
        question["StartAfter"] = question["Prefix"] + after
    is_empty = bool(key)  # a bucket may be
    while True:
        page = ask(lambda: fs.call_s3("list_objects_v2", **question, **fs.req_kw))
        for common in page.get("CommonPrefixes", ()):
            is_empty = False
            yield {"name": f"{bucket}/{common['Prefix']}", "size": 0, "type": "directory"}
        for facts in page.get("Contents", ()):
            is_empty = False
            name = f"{bucket}/{facts['Key']}"
            yield {**facts, "name": name, "size": facts["Size"], "type": "file"}
        if not page.get("IsTruncated"):
            break
        question["ContinuationToken"] = page["NextContinuationToken"]
    if is_empty:
        raise FileNotFoundError(path)
