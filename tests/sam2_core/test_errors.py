"""One tree of errors: users may catch the base, or what Python would raise."""

from __future__ import annotations

import inspect

import pytest

import sam2_core
from sam2_core import errors

ALL = [value for _, value in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_everything_has_one_base_says_what_it_is_and_is_public(error: type) -> None:
    assert issubclass(error, errors.Sam2Error)
    assert issubclass(error, Exception)
    assert error.__doc__
    assert getattr(sam2_core, error.__name__) is error
    assert error.__name__ in sam2_core.__all__


@pytest.mark.parametrize(
    "error",
    [errors.ConfigError, errors.PromptError, errors.ImageError, errors.FrameSourceError],
    ids=lambda error: error.__name__,
)
def test_what_a_caller_got_wrong_is_a_value_error(error: type) -> None:
    assert issubclass(error, ValueError)


def test_all_that_is_wrong_with_weights_is_a_checkpoint_error() -> None:
    for error in (errors.CheckpointUnreadable, errors.CheckpointMismatch, errors.DownloadFailed):
        assert issubclass(error, errors.CheckpointError)
        assert not issubclass(error, ValueError)


def test_the_tree_that_is_drawn_is_the_tree_that_is_there() -> None:
    drawn = {line.split()[-1] for line in errors.__doc__.splitlines() if line.endswith("Error")}
    for error in ALL:
        assert error.__name__ in errors.__doc__, f"{error.__name__} is not drawn"
    assert drawn <= {error.__name__ for error in ALL}
