"""How ``eval compare`` writes numbers in its tables."""

from __future__ import annotations

from xltjax.eval.comparison import report
from xltjax.eval.table_files import latex_text


def test_numbers_are_short_and_keep_their_sign() -> None:
    assert [report.number(x) for x in (-0.1234, 0.0, 0.9999, 2.5, -1.0)] == [
        "−.123",
        ".000",
        "1.000",
        "2.500",
        "−1.000",
    ]
    assert [report.number(x, sign=True) for x in (0.5, 0.0, -1e-9)] == ["+.500", ".000", ".000"]
    assert [report.p_value(x) for x in (1.0, 0.0123, 1e-5)] == ["1.000", ".012", "<.001"]
    assert latex_text("a_b [x] <y> 5% − {z}\\") == "a\\_b {[}x{]} $<$y$>$ 5\\% $-$ \\{z\\}\\textbackslash{}"
