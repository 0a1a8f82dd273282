"""The exceptions: one tree that a service wrapper can map, and that pickles."""

from __future__ import annotations

import pickle

import pytest

from lsst.dax.image import errors

PUBLIC = [getattr(errors, name) for name in errors.__all__]
ALL = [value for value in PUBLIC if isinstance(value, type)]


@pytest.mark.parametrize("kind", ALL)
def test_pickles_with_its_message(kind: type[Exception]) -> None:
    error = kind("asked for 3, there were 2")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (made on the line itself)
    assert type(copy) is kind
    assert copy.args == error.args == ("asked for 3, there were 2",)
    assert str(copy) == "asked for 3, there were 2"


def test_every_class_of_the_module_is_public() -> None:
    own = {value for value in vars(errors).values() if getattr(value, "__module__", "") == errors.__name__}
    assert {value for value in own if isinstance(value, type)} == set(ALL)


@pytest.mark.parametrize("kind", ALL)
def test_is_in_the_tree(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.DaxImageError)


@pytest.mark.parametrize(
    ("builtin", "root"),
    [(ValueError, errors.RequestError), (LookupError, errors.InputNotFoundError)],
)
def test_only_one_branch_is_the_users_mistake(builtin: type, root: type) -> None:
    assert {kind for kind in ALL if issubclass(kind, builtin)} == {
        kind for kind in ALL if issubclass(kind, root)
    }


@pytest.mark.parametrize(
    ("root", "leaves"),
    [
        (
            errors.RequestError,
            {
                "InvalidRegionError",
                "NoCoverageError",
                "RequestTooLargeError",
                "StencilNotContainedError",
                "UnsupportedProductError",
                "VirtualCycleError",
            },
        ),
        (errors.InputNotFoundError, {"DatasetNotFoundError"}),
        (
            errors.InputDataError,
            {
                "CalibrationMismatchError",
                "InconsistentUnitsError",
                "MissingCalibrationError",
                "MissingPsfError",
            },
        ),
        (errors.NoCoverageError, {"StencilNotContainedError"}),
        (errors.OutputError, set()),
        (errors.StoreError, set()),
        (errors.InternalError, set()),
    ],
)
def test_branch(root: type, leaves: set[str]) -> None:
    assert {kind.__name__ for kind in ALL if issubclass(kind, root) and kind is not root} == leaves


def test_failures_of_files_are_os_errors() -> None:
    assert {kind.__name__ for kind in ALL if issubclass(kind, OSError)} == {"OutputError", "StoreError"}


def test_a_service_can_tell_usage_from_fatal() -> None:
    # What a wrapper does: LookupError and ValueError are the user's, the rest is fatal.
    def category(error: Exception) -> str:
        return "usage" if isinstance(error, LookupError | ValueError) else "fatal"

    assert category(errors.StencilNotContainedError("x")) == "usage"
    assert category(errors.DatasetNotFoundError("x")) == "usage"
    assert category(errors.MissingPsfError("x")) == "fatal"
    assert category(errors.InternalError("x")) == "fatal"
    assert category(errors.StoreError("x")) == "fatal"


@pytest.mark.parametrize(
    "stray", [KeyError("band"), IndexError("5 of 4"), ValueError("x"), ZeroDivisionError("y")]
)
def test_a_stray_builtin_becomes_an_internal_error(stray: Exception) -> None:
    with (
        pytest.raises(
            errors.InternalError, match=rf"Reading a cutout failed: {type(stray).__name__}"
        ) as caught,
        errors.internal_errors_reported("Reading a cutout"),
    ):
        raise stray
    assert caught.value.__cause__ is stray


@pytest.mark.parametrize("kind", ALL)
def test_errors_of_the_tree_pass_through_unchanged(kind: type[Exception]) -> None:
    meant = kind("asked for 3, there were 2")
    with pytest.raises(kind, match="asked for 3") as caught, errors.internal_errors_reported("Anything"):
        raise meant
    assert caught.value is meant


def test_failures_of_the_machine_pass_through_unchanged() -> None:
    with pytest.raises(MemoryError, match="full"), errors.internal_errors_reported("Anything"):
        raise MemoryError("full")
