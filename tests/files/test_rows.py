import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from bulk_patch.files.rows import csv_line_writer


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=5, max_size=5)))
def test_every_text_comes_back_from_a_strict_reader(lines: list[list[str]]) -> None:
    file = io.BytesIO()
    write_line = csv_line_writer(file)
    for line in lines:
        write_line(line)
    assert list(csv.reader(io.StringIO(file.getvalue().decode(), newline=""), strict=True)) == lines
