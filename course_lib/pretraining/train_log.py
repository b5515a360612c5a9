"""A run's log: one JSON object a line, so that a killed run leaves all lines but perhaps half of the last one."""

import json
import os
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class TrainLog:
    """Records of a run, in memory and, with a path, in a file to which each is added at once.

    Every record has "step", the number of steps that were done when it was written.

    >>> log = TrainLog()
    >>> log.add({"step": 1, "loss": 2.5})
    >>> log.column("loss")
    [2.5]
    """

    def __init__(self, path: Path | None = None):
        self.path = path
        self.records: list[Record] = []

    def add(self, record: Record) -> None:
        """Add a record."""
        self.records.append(record)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def column(self, name: str) -> list[Any]:
        """Return one entry of all records that have it."""
        return [record[name] for record in self.records if name in record]

    def rewind(self, step: int, read: bool = False) -> None:
        """Forget all records after so many steps, in the file as well; `read` takes what the file holds first."""
        if read and self.path is not None and self.path.is_file():
            self.records = read_log(self.path)
        self.records = [record for record in self.records if record["step"] <= step]
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft = self.path.with_name(f".{self.path.name}.draft")
            draft.write_text("".join(json.dumps(record) + "\n" for record in self.records), encoding="utf-8")
            os.replace(draft, self.path)


def read_log(path: Path) -> list[Record]:
    """Return the records of a log file; a last line that was cut off by a kill is left out.

    ValueError for any other line that is no record.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "log.jsonl"
    >>> _ = path.write_text('{"step": 1, "loss": 2.5}\\n{"step": 2, "lo')
    >>> read_log(path)
    [{'step': 1, 'loss': 2.5}]
    """
    records = []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or "step" not in record:
                raise ValueError("no record with a step")
        except ValueError as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise ValueError(f"path: expected a JSON record in line {number} of {path}, got {error}") from None
        records.append(record)
    return records
