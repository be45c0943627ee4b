"""What a benchmark holds us against is as short as it is said to be."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "jobs" / "benchmarks"
NOT_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
}


def lines_of_code(source: str) -> int:
    """Lines that are neither blank nor a comment, a docstring, or an import."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {
        line
        for token in tokens
        if token.type not in NOT_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(source)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, ast.Import | ast.ImportFrom):
            assert node.end_lineno is not None
            lines -= set(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def test_lines_are_counted_as_one_would():
    source = '"""Text,\nof two lines."""\nimport os\n\n\nx = [\n    1,  # a\n]\n# b\nprint(x)\n'
    assert lines_of_code(source) == 4


@pytest.mark.parametrize("script", ["naive_ray.py", "fair_map_batches.py"])
def test_a_side_that_stands_for_fifty_lines_has_no_more(script: str):
    assert lines_of_code((BENCHMARKS / script).read_text()) <= 50
