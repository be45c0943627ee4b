"""The config that is kept with an output -> settings, weights and the id that its results bear."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .config import JobConfig
from .config_file import config_of
from .config_id import config_id, differing_keys, resolved_yaml
from .errors import RootRefused
from .manifest import manifest_parts
from .outcomes import result_names
from .storage import Store

CONFIG = "_sam2ray/config.yaml"
_WEIGHTS, _HEAD = "# weights: ", "# head: "
_OF_LISTINGS = ("mode", "source", "prompts")


@dataclass(frozen=True, slots=True)
class KeptConfig:
    """What all results of an output were made with."""

    config: JobConfig
    weights: str  # SHA-256
    head: str | None = None  # SHA-256, where there is one

    @property
    def config_id(self) -> str:
        """What every outcome of the output says."""
        return config_id(self.config, self.weights, self.head)

    def differences(self, config: JobConfig, weights: str, head: str | None = None) -> list[str]:
        """In what another config would give other results."""
        if config_id(config, weights, head) == self.config_id:
            return []
        keys = differing_keys(self.config, config)
        keys += [] if weights == self.weights else ["the weights"]
        return keys if head == self.head else [*keys, "the head"]


def kept_config(store: Store) -> KeptConfig:
    """Read it; FileNotFoundError if no run has begun, UsageError if somebody edited it badly."""
    text = store.read(CONFIG).decode()
    if not text:  # a run was killed as it wrote it: see publishing
        raise FileNotFoundError(f"{store.uri_of(CONFIG)} is empty.")
    return KeptConfig(config_of(text, store.uri_of(CONFIG)), weights_in(text), head_in(text))


def has_config(store: Store) -> bool:
    """Whether an output is bound to a config."""
    return store.exists(CONFIG) and store.read(CONFIG) != b""


def pin_config(store: Store, config: JobConfig, weights: str, head: str | None = None) -> str:
    """Bind an output to a config, or refuse one that would give other results; its id."""
    assert re.fullmatch(r"[0-9a-f]{64}", weights)
    of_head = "" if head is None else f"{_HEAD}{head}\n"
    text = f"{_WEIGHTS}{weights}\n{of_head}{resolved_yaml(config)}".encode()
    # Looked at first: not every store refuses to write over a file.
    if not store.exists(CONFIG) and store.create(CONFIG, text):
        return config_id(config, weights, head)
    kept = kept_config(store) if has_config(store) else None
    differences = [f"all of {CONFIG}"] if kept is None else kept.differences(config, weights, head)
    if differences and not _holds_anything(store):  # a run that came to nothing binds nobody
        store.put(CONFIG, text)
        return config_id(config, weights, head)
    _refuse(store, differences)
    assert kept is not None
    return kept.config_id


def refuse_another_config(
    store: Store, config: JobConfig, weights: str, head: str | None = None
) -> None:
    """Say now what a run would say: an output is pinned to one config."""
    if has_config(store):
        _refuse(store, kept_config(store).differences(config, weights, head))


def refuse_another_listing(store: Store, config: JobConfig) -> None:
    """Refuse to list what a run of this output would not: its units would supersede all others.

    Whoever lists need not say again with which model.
    """
    if has_config(store) and _holds_anything(store):
        keys = differing_keys(kept_config(store).config, config)
        _refuse(store, [key for key in keys if key.partition(".")[0] in _OF_LISTINGS])


def _refuse(store: Store, differences: Sequence[str]) -> None:
    if differences:
        raise RootRefused(
            f"{store.uri}: holds results of another config; what differs: "
            f"{', '.join(differences)}. Write to a new output, or use the settings of "
            f"{store.uri_of(CONFIG)}."
        )


def _holds_anything(store: Store) -> bool:
    return bool(manifest_parts(store)) or any(result_names(store))


def weights_in(text: str) -> str:
    """The digest of the weights, which the first line of a kept config says."""
    return text.partition("\n")[0].removeprefix(_WEIGHTS).strip()


def head_in(text: str) -> str | None:
    """The digest of the head, which the second line says where there is one."""
    second = text.partition("\n")[2].partition("\n")[0]
    return second.removeprefix(_HEAD).strip() if second.startswith(_HEAD) else None
