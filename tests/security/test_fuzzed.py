"""Files that were real until some of their bytes were changed: what reads them by hand answers or refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.security.fuzz import TARGETS, Fuzzer


@pytest.mark.slow(4)
@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_of_foreign_bytes_answers_or_refuses_and_its_lines_are_tried(
    name: str, tmp_path: Path
) -> None:
    fuzzer = Fuzzer(TARGETS[name], tmp_path)
    for _ in range(TARGETS[name].files):
        fuzzer.choose()
        try:
            fuzzer.read()
        except BaseException:
            (tmp_path / "crash").write_bytes(fuzzer.data)  # to be found in pytest's folder
            raise
    assert len(fuzzer.reached & fuzzer.lines) >= 0.9 * len(fuzzer.lines)
