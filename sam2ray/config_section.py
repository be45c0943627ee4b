"""What sections of settings are made of: frozen models, marked fields, texts and addresses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
)
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

MARK = "changes_results"

Setting = tuple[tuple[str, ...], FieldInfo]  # where it stands, and what is known of it


class Section(BaseModel):
    """Settings that belong together: frozen, of exact types, without unknown names."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What repr and str show: addresses without passwords and signatures."""
        for name, value in super().__repr_args__():
            yield name, _without_secrets(value)


def result(default: object, description: str, **limits: Any) -> Any:  # noqa: ANN401 - as Field
    """A setting that changes what is found: another value means another config_id."""
    return _setting(default, description, True, limits)


def run(default: object, description: str, **limits: Any) -> Any:  # noqa: ANN401 - as Field
    """A setting of the run alone: how fast, how often, from where."""
    return _setting(default, description, False, limits)


def _setting(default: object, description: str, changes: bool, limits: dict[str, Any]) -> object:
    extra = {MARK: changes, **limits.pop("schema", {})}
    return Field(default, description=description, json_schema_extra=extra, **limits)


def section(kind: Callable[[], Section], description: str, *, exclude: bool = False) -> Any:  # noqa: ANN401
    """A section inside another one; all defaults where it is not written."""
    return Field(default_factory=kind, description=description, exclude=exclude)


class Contradiction(ValueError):
    """What settings of one section say together cannot be."""

    def __init__(self, words: str, *involved: str) -> None:
        super().__init__(words)
        self.involved = involved  # the names of all settings that it is about


def fault(path: str, words: str, *others: str) -> InitErrorDetails:
    """What a validator of the whole found wrong with one setting, as `others` stand."""
    # The words go in as a value: a brace in a template would be taken for a gap.
    context = {"words": words, "involved": (path, *others)}
    error = PydanticCustomError("fault", "{words}", context)
    place = tuple(int(part) if part.isdigit() else part for part in path.split("."))
    return InitErrorDetails(type=error, loc=place, input=None)


def settings_of(kind: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[Setting]:
    """All settings of a section and of the sections in it."""
    for name, field in kind.model_fields.items():
        path = (*above, name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from settings_of(inner, path)
        else:
            yield path, field


def changes_results(field: FieldInfo) -> bool:
    """Whether it was made by `result`; every setting is made by that or by `run`."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict), field
    return extra[MARK] is True


# ---------------------------------------------------------------- texts


def _writable(text: str) -> str:
    """Refuse what no file and no table can hold."""
    if "\0" in text or not _is_unicode(text):
        raise ValueError("must be plain Unicode text; rename what has such a name")
    return text


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def frozen(value: object) -> object:
    """Lists as tuples, inner ones too."""
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    return value


def _not_empty(texts: tuple[str, ...]) -> tuple[str, ...]:
    if not texts:
        raise ValueError("must not be empty")
    return texts


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else frozen(value)


def public_uri(uri: str) -> str:
    """An address without what may be secret: user, password, and the query with its signature."""
    if "://" not in uri:
        return uri
    shown = re.sub(r"://[^/?#]*@", "://***@", uri)
    return re.sub(r"\?.*", "?***", shown, flags=re.DOTALL)


def _without_secrets(value: object) -> object:
    if isinstance(value, str):
        return public_uri(value)
    if isinstance(value, tuple):
        return tuple(_without_secrets(item) for item in value)
    return value


Text = Annotated[str, AfterValidator(_writable), Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Uri = Annotated[Text, PlainSerializer(public_uri, return_type=str, when_used="json")]
Texts = Annotated[
    tuple[Text, ...], BeforeValidator(_one_or_many, json_schema_input_type=str | list[str])
]
Uris = Annotated[
    tuple[Uri, ...],
    AfterValidator(_not_empty),
    BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
]
