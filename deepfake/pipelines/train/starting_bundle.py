"""What follows for a training that starts from a whole bundle: whom it has seen, and what it is called."""

import logging
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.identity_overlap import list_identities, name_some
from deepfake.errors import UsageError
from deepfake.model.bundle import BundleInfo

log = logging.getLogger(__name__)


def require_unseen(info: BundleInfo, table: pa.Table, splits: tuple[str, str]) -> None:
    """Refuse to start from a bundle that has learnt from people who are to say how good it is.

    ``splits`` are those to train and to validate on. Nobody of the bundle's own training may be outside the
    former, nobody of its validation outside both: the test split counts, whatever it is called.
    """
    recorded = info.read_identities()
    if not recorded:
        log.warning(
            "the bundle of model.weights does not say whom it was trained on: it may know these people"
        )
        return
    trained = info.training.get("config", {}).get("training", {}).get("train_split", "train")
    for split in sorted(set(pc.unique(table["split"].drop_null()).to_pylist()) - {splits[0]}):
        seen = set(recorded.get(trained, ()))
        if split != splits[1]:
            seen = seen.union(*recorded.values())
        if shared := seen & set(list_identities(table, split)):
            raise UsageError(
                f"the bundle of model.weights was trained on {len(shared)} people of split {split!r}: "
                f"{name_some(shared)}. Numbers on them would say nothing about new people; "
                "--training.allow_overlap true trains all the same"
            )


def join_identities(
    info: BundleInfo | None, ours: Mapping[str, Iterable[str]], train_split: str
) -> dict[str, Sequence[str]]:
    """Whom the new bundle has seen: ``ours``, and in training everybody that it started from has seen."""
    found: dict[str, Sequence[str]] = {split: sorted(names) for split, names in ours.items()}
    if info is not None:
        before = set().union(*(info.read_identities() or {}).values())
        found[train_split] = sorted({*found[train_split], *before.difference(*found.values())})
    return found
