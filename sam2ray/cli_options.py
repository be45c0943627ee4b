"""Options that commands share, and what is made of them: settings of a job, stores that answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import StorageError, UsageError
from .patience import BRIEF, is_of_a_package
from .storage import Options, Store, local_path, open_store

if TYPE_CHECKING:
    from .config import JobConfig

Source = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE",
        help="The archive: folder, prefix, pattern, shards or list. Folders of frames, each a "
        "clip: --set source.kind=frames.",
    ),
]
NewOut = Annotated[
    str | None, typer.Argument(metavar="OUT", help="Folder or prefix of the dataset of masks.")
]
Out = Annotated[str, typer.Argument(metavar="OUT", help="The output of a run.")]
Mode = Annotated[
    str | None,
    typer.Option(help="auto, prompt, track, auto_track, embed or semantic.", metavar="MODE"),
]
Prompts = Annotated[str | None, typer.Option(help="A file or folder of prompts.", metavar="FILE")]
Keep = Annotated[
    str | None, typer.Option(help="Columns of the source to copy to `user`.", metavar="COL,...")
]
Config = Annotated[
    list[str] | None,
    typer.Option(help="A config file, or a shipped one; may be repeated.", metavar="FILE"),
]
Assign = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting; may be repeated.", metavar="KEY=VALUE"),
]

_ASKED_FOR = "_sam2ray/config.yaml"  # any answer shows that a store is there


def settings_from(
    source: str | None,
    output: str | None,
    config: Sequence[str] | None,
    assign: Sequence[str] | None,
    **options: object,
) -> JobConfig:
    """The settings of a job, as all words of the command line give them."""
    if not config and not assign and (source is None or output is None):
        missing = "SOURCE and OUT are" if source is None else "OUT is"
        raise UsageError(
            f"{missing} missing: name the archive and the place for its masks, as in "
            "`sam2ray run photos/ masks/`, or give a config that has source.uri and output.uri."
        )
    from .config_file import load_config

    return load_config(config or (), assign or (), source=source, output=output, **options)


def columns_in(text: str | None) -> list[str] | None:
    """The names that stand between commas."""
    return None if text is None else [name.strip() for name in text.split(",")]


def storage_options(
    output: str, config: Sequence[str] | None, assign: Sequence[str] | None
) -> dict[str, Any]:
    """How the configs of a run say that stores are reached."""
    if not config and not assign:
        return {}
    from .config_file import load_config

    settings = load_config(config or (), assign or (), source=output, output=output)
    return dict(settings.store_options())


def output_at(uri: str, config: Sequence[str] | None, assign: Sequence[str] | None) -> Store:
    """The store of an output that is there."""
    from .live_units import require_output

    store = store_at(uri, config, assign)
    require_output(store)
    return store


def store_at(uri: str, config: Sequence[str] | None, assign: Sequence[str] | None) -> Store:
    """The store at an address, reached as the configs of a run say."""
    return reached(uri, storage_options(uri, config, assign))


def reached(uri: str, options: Options) -> Store:
    """The store at an address, once it has answered."""
    path = local_path(uri)
    if path is not None:
        for part in (path, *path.parents):
            if part.exists() and not part.is_dir():
                raise UsageError(f"{uri}: {part} is a file; name a folder.")
        return open_store(uri, options)
    store = open_store(uri, options)
    try:
        store.with_patience(BRIEF).read(_ASKED_FOR)  # somebody may have mistyped an address
    except FileNotFoundError:  # an answer, too
        return store
    except Exception as error:
        raise _unreachable(store.uri, error) from error
    return store


def require_source(settings: JobConfig) -> None:
    """Whatever is wrong with a source is said before anything is started or written."""
    from .listing import source_of

    try:
        source_of(settings)
    except Exception as error:
        if is_of_a_package(error) or isinstance(error, StorageError | PermissionError):
            raise _unreachable(", ".join(settings.source.uri), error) from error
        raise


def _unreachable(uri: str, error: Exception) -> UsageError:
    from .config_section import public_uri

    cause = error.__cause__ if isinstance(error, StorageError) and error.__cause__ else error
    why = str(cause).partition("\n")[0] or type(cause).__name__
    return UsageError(
        f"{public_uri(uri)}: cannot be reached: {why.rstrip('.')}. Mend the address, the "
        "credentials in the environment, or storage.* in a config."
    )
