"""How stores are reached, by protocol; no value of it is ever shown, written down or digested.

The better place for credentials is the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, the role of a
machine, GOOGLE_APPLICATION_CREDENTIALS): what is in no file is not copied with one.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any

import fsspec
from pydantic import AfterValidator, ConfigDict, Field, JsonValue, model_validator

from .config_section import Section, Text, run, section
from .storage import Options


class _Secretive(Section):
    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """The names of what is set; never a value."""
        return [(name, "***") for name in sorted(self.model_fields_set)]

    def __repr_str__(self, join_str: str) -> str:
        return join_str.join(f"{name}=***" for name, _ in self.__repr_args__())


class S3(_Secretive):
    """Amazon S3, and the stores that speak like it."""

    endpoint_url: Text | None = run(None, "Address of a store other than Amazon's; null: Amazon's.")
    region: Text | None = run(None, "Region of the bucket; null: what the environment says.")
    profile: Text | None = run(None, "Named profile of ~/.aws; null: what the environment says.")
    key: Text | None = run(None, "Access key id; better in AWS_ACCESS_KEY_ID.")
    secret: Text | None = run(None, "Secret access key; better in AWS_SECRET_ACCESS_KEY.")
    token: Text | None = run(None, "Session token; better in AWS_SESSION_TOKEN.")
    anon: bool = run(False, "Read public buckets without credentials.")
    requester_pays: bool = run(False, "Pay for what is read from buckets that ask for it.")
    client_kwargs: dict[str, JsonValue] = run({}, "Further options of the botocore client.")
    config_kwargs: dict[str, JsonValue] = run({}, "Further options of botocore's Config.")

    def options(self) -> dict[str, Any]:
        """What s3fs is made with: only what was set."""
        options = {
            name: value
            for name in type(self).model_fields
            if (value := getattr(self, name)) not in (None, False, {})
        }
        region = options.pop("region", None)
        if region is not None:
            options["client_kwargs"] = {"region_name": region, **self.client_kwargs}
        return options


def _known_protocol(name: str) -> str:
    known = {"s3", *fsspec.available_protocols()}
    if name in known:
        return name
    near = get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {near[0]}?" if near else "write one such as s3, gs or az"
    raise ValueError(f"is no kind of storage; {hint}")


FurtherOptions = dict[Annotated[str, AfterValidator(_known_protocol)], dict[str, JsonValue]]


def _is_host(name: object) -> bool:
    return isinstance(name, str) and bool(name) and not set(name) & set("/@ ")


class Storage(_Secretive):
    """Options of file systems: `s3`, or any protocol that fsspec knows with options of its own."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: FurtherOptions = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    s3: S3 = section(S3, "Amazon S3, and the stores that speak like it.")

    @model_validator(mode="after")
    def _headers_are_meant_for_somebody(self) -> Storage:
        for name in ("http", "https"):
            own = (self.model_extra or {}).get(name, {})
            further, hosts = own.get("client_kwargs"), own.get("hosts", [])
            if not isinstance(hosts, list) or not all(map(_is_host, hosts)):
                raise ValueError(
                    f"{name}.hosts is no list of hosts: write data.example.org, for https, or "
                    "data.example.org:8080"
                )
            if isinstance(further, dict) and further.get("headers") and not hosts:
                raise ValueError(
                    f"{name}.client_kwargs.headers are told to no host that is not named, as lists "
                    f"of addresses may lead anywhere: say {name}.hosts=[data.example.org]"
                )
        return self

    def options(self) -> Options:
        """What file systems are made with, by protocol; see storage.open_store."""
        s3 = self.s3.options()
        named = {"s3": s3, "s3a": s3} if s3 else {}
        return {**named, **(self.model_extra or {})}
