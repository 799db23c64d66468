"""Every Parquet schema of the project, column by column.

Nothing else in the project spells out a table's columns. Each file carries in its metadata the table's
name, the schema version, the hash of the configuration that made it and the package version; ``read_table``
refuses a file of another table or version.
"""

from deepfake.io.tables.bounded import BoundedFile, TableError
from deepfake.io.tables.columns import (
    FAILURES,
    PROGRAM_FAULT,
    PROVENANCE_COLUMNS,
    Status,
    count_program_faults,
    count_values,
)
from deepfake.io.tables.files import (
    ADDED,
    SCHEMA_VERSION,
    SCHEMAS,
    add_later_columns,
    check_file,
    check_rows,
    check_table,
    decode_strings,
    from_ipc,
    from_rows,
    list_columns,
    make_schema,
    open_table,
    open_writer,
    quote_formulas,
    read_encoded,
    read_rows_of_videos,
    read_table,
    stamp,
    to_ipc,
    unquote_formulas,
    write_csv,
    write_table,
)
from deepfake.io.tables.videos import relabel, select_relabelled
