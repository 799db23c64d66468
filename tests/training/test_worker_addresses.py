"""How the workers of a training learn each other's addresses, and what is said of one that fails."""

from __future__ import annotations

import json
import os
import socket

import pytest

from deepfake.training.ray_train import describe_first_cause, find_free_address, set_cluster


def test_an_address_is_one_that_this_process_can_listen_at(ray_session: None) -> None:
    host, _, port = find_free_address().rpartition(":")
    with socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET) as listener:
        listener.bind((host.strip("[]"), int(port)))


def test_tensorflow_is_told_all_workers_and_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", "")  # put back after the test
    set_cluster(["a:1", "b:2"], 1)
    told = json.loads(os.environ["TF_CONFIG"])
    assert told == {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


def test_of_a_failed_training_the_first_workers_own_words_are_left() -> None:
    class Failed(Exception):
        worker_failures: dict[int, BaseException] | None = None

    try:
        try:
            raise ValueError("no crops left")
        except ValueError as cause:
            raise RuntimeError("a wrapping") from cause
    except RuntimeError as wrapped:
        error = Failed("much text")
        error.worker_failures = {3: OSError("later"), 1: wrapped}
    assert describe_first_cause(error) == "worker 1: ValueError: no crops left"
    assert describe_first_cause(Failed("no worker's fault")) == "no worker's fault"
