"""Every Parquet schema of the project, column by column.

Nothing else in the project spells out a table's columns. Each file carries in its metadata the table's
name, the schema version, the hash of the configuration that made it and the package version; ``read``
refuses a file of another table or version.
"""

from deepfake.io.tables.columns import (
    FAILURES,
    PROGRAM_FAULT,
    PROVENANCE_COLUMNS,
    Status,
    program_faults,
)
from deepfake.io.tables.files import (
    SCHEMA_VERSION,
    SCHEMAS,
    TableError,
    check_file,
    checked,
    columns,
    decoded,
    from_ipc,
    from_rows,
    open_file,
    read,
    read_encoded,
    rows_of_videos,
    schema,
    stamped,
    to_ipc,
    write,
    writer,
)

__all__ = [
    "FAILURES",
    "PROGRAM_FAULT",
    "PROVENANCE_COLUMNS",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "Status",
    "TableError",
    "check_file",
    "checked",
    "columns",
    "decoded",
    "from_ipc",
    "from_rows",
    "open_file",
    "program_faults",
    "read",
    "read_encoded",
    "rows_of_videos",
    "schema",
    "stamped",
    "to_ipc",
    "write",
    "writer",
]
