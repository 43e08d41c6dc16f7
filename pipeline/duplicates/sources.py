"""Read fingerprints of other roots, and of files that `ola hashes` wrote."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from manifests import storage
from manifests.duplicate_records import Fingerprint
from manifests.ledger import Manifest
from pipeline.duplicates.hash_files import read_hashes, rows_of
from pipeline.errors import ConfigError
from pipeline.state.keys import load

STEP = "fingerprint"


@dataclass(frozen=True)
class FingerprintSource:
    """Fingerprints at `name`: of the step folder `folder` of a root, or of a hash file if `folder` is empty."""

    name: str
    folder: str

    @classmethod
    def open(cls, name: str) -> FingerprintSource:
        """Return the source with this name. Raises ConfigError if it has no fingerprints."""
        if storage.exists(name):
            return cls(name, "")
        folder = load(name).last.get(STEP, "")
        if not folder:
            advice = "expected a file of `ola hashes`, or the root of a run with the step 'fingerprint'"
            raise ConfigError(
                f"{name}: {advice}, got neither; do ola run … --set extra_steps=[fingerprint] there first"
            )
        return cls(name, folder)

    def stamp(self) -> list[object]:
        """Return facts that change when the fingerprints change."""
        if not self.folder:
            entry = storage.stat(self.name)
            return [entry.size, entry.stamp] if entry is not None else []
        files = storage.listing(storage.join(storage.normal(self.name), self.folder))
        return [[each.path, each.size, each.stamp] for each in files]

    def read(self) -> pa.Table:
        """Read the rows. Raises ConfigError or Damaged."""
        if not self.folder:
            return read_hashes(self.name)
        number, _, rest = self.folder.partition("-")
        step, _, key = rest.rpartition("-")
        return rows_of(Manifest(storage.normal(self.name), int(number), step, key, Fingerprint))
