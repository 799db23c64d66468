"""A provider of pretended nodes of which the second does not see ``$HIDDEN``; all others do."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider

CLONE_NEWNS = 0x20000  # linux/sched.h: a table of mounts of its own, here for one thread and its children


class BlindProvider(FakeMultiNodeProvider):
    """As Ray's, with a bad node; needs the right to mount."""

    _begun = 0

    def _create_node_with_resources_and_labels(self, *arguments: Any) -> None:
        start = super()._create_node_with_resources_and_labels
        self._begun += 1
        if self._begun != 2:
            return start(*arguments)
        failed: list[Exception] = []

        def start_blind() -> None:
            try:
                if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
                    raise OSError(ctypes.get_errno(), "unshare")
                subprocess.run(["mount", "--make-rprivate", "/"], check=True)
                subprocess.run(["mount", "-t", "tmpfs", "hidden", os.environ["HIDDEN"]], check=True)
                start(*arguments)
            except Exception as error:  # noqa: BLE001 - raised below, by the thread that waits
                failed.append(error)

        thread = threading.Thread(target=start_blind)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return None
