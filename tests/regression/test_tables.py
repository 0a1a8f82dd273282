"""Two tables of measurements, row by row."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable, Table

from lsst.dax.image.errors import RequestError
from lsst.dax.image.regression import SAME_MEASUREMENTS, TableComparison, compare_tables

KEYS = ("objectId", "visit")


def make_table() -> Table:
    return Table(
        {
            "objectId": [1, 1, 2],
            "visit": [10, 11, 10],
            "flux": np.array([100.0, np.nan, 300.0], np.float32),
            "fluxErr": np.array([5.0, np.nan, 7.0], np.float32),
            "flag": [False, True, False],
            "band": ["r", "i", "r"],
        }
    )


def test_a_table_equals_itself_in_any_order_and_with_units() -> None:
    reference = make_table()
    candidate = QTable(reference[[2, 0, 1]])
    candidate["flux"] = candidate["flux"] * u.nJy
    candidate["more"] = [1, 2, 3]
    found = compare_tables(candidate, reference, keys=KEYS)
    assert found.find_failures(SAME_MEASUREMENTS) == []
    assert [column.column for column in found.columns] == ["flux", "fluxErr", "flag", "band"]
    assert [column.n_different for column in found.columns] == [0, 0, 0, 0]
    assert TableComparison.model_validate_json(found.model_dump_json()) == found


def test_a_flux_is_judged_by_its_error_and_an_error_by_itself() -> None:
    candidate = make_table()
    candidate["flux"][2] += 0.7
    candidate["fluxErr"][0] *= 1.01
    found = compare_tables(candidate, make_table(), keys=KEYS)
    assert found.max_sigma == pytest.approx(0.1, rel=1e-4)
    assert found.find_failures(SAME_MEASUREMENTS) == [
        "flux: largest difference is 0.1 standard deviations, more than 0.01 (row 2, 10)",
        "fluxErr: largest difference is 0.01 of the value, more than 0.001 (row 1, 10)",
    ]


def test_a_value_on_one_side_a_flag_and_a_text_are_found() -> None:
    candidate = make_table()
    candidate["flux"][1] = 1.0
    candidate["flag"][2] = True
    candidate["band"][0] = "g"
    failures = compare_tables(candidate, make_table(), keys=KEYS).find_failures(SAME_MEASUREMENTS)
    assert failures == [
        "flux: 1 rows have a value on one side only",
        "flag: 1 of 3 rows differ, the first is (2, 10)",
        "band: 1 of 3 rows differ, the first is (1, 10)",
    ]


def test_an_error_of_zero_excuses_nothing() -> None:
    reference, candidate = make_table(), make_table()
    reference["fluxErr"][0] = candidate["fluxErr"][0] = 0.0
    candidate["flux"][0] += 1e-3
    found = compare_tables(candidate, reference, keys=KEYS)
    assert found.max_sigma == np.inf
    assert TableComparison.model_validate_json(found.model_dump_json()).max_sigma == np.inf
    assert "largest difference is inf standard deviations" in found.find_failures(SAME_MEASUREMENTS)[0]


def test_missing_rows_and_columns_are_failures() -> None:
    candidate = make_table()[:2]
    candidate.remove_column("flag")
    assert compare_tables(candidate, make_table(), keys=KEYS).find_failures(SAME_MEASUREMENTS) == [
        "1 of 3 rows are missing",
        "columns are missing: flag",
    ]
    assert compare_tables(make_table(), make_table()[:0], keys=KEYS).find_failures(SAME_MEASUREMENTS) == [
        "there are no rows to compare"
    ]


def test_masked_values_are_missing_values() -> None:
    reference = make_table()
    reference["flux"] = MaskedColumn([100.0, 7.0, 300.0], mask=[False, True, False])
    reference["flag"] = MaskedColumn([False, True, True], mask=[False, False, True])
    assert compare_tables(make_table(), reference, keys=KEYS).find_failures(SAME_MEASUREMENTS) == []


def test_rows_need_names() -> None:
    with pytest.raises(RequestError, match=r"mine: the rows have no \['night'\], only \['objectId'"):
        compare_tables(make_table(), make_table(), keys=("objectId", "night"), name="mine")
    with pytest.raises(RequestError, match=r"of 3 rows only 2 differ in \['objectId'\]"):
        compare_tables(make_table(), make_table(), keys=("objectId",))
