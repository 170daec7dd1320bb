"""Rows of any kind become contiguous float32, once."""

import numpy as np

from model.rows import float32_rows


def test_none_is_missing_and_what_is_too_large_is_infinite() -> None:
    rows = float32_rows([[None, 1e39, -1e39, 0.1]])
    assert (rows.dtype, rows.shape) == (np.dtype(np.float32), (1, 4))
    np.testing.assert_array_equal(rows, np.array([[np.nan, np.inf, -np.inf, 0.1]], np.float32))


def test_float32_is_taken_as_it_is() -> None:
    rows = np.ones((3, 2), np.float32)
    assert float32_rows(rows) is rows
    assert float32_rows(rows[:, ::2]).flags.c_contiguous
