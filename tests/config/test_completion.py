"""Each shell, asked itself, completes jobs, their keys, and the values of keys that have a few."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from deepfake.__main__ import JOBS
from deepfake.config.completion import write_completion

COMPLETED = [
    (["sc"], "score"),
    (["score", "--scoring.oper"], "--scoring.operating_point"),
    (["score", "--scoring.operating_point", "fpr_0.00"], "fpr_0.001"),
    (["score", "--ver"], "--verify"),
    (["train", "--config", "recipe:sb"], "recipe:sbi"),
    (["completion", "z"], "zsh"),
    (["train", "--scoring.oper"], ""),
]


def write_script(shell: str) -> str:
    return write_completion(shell, {name: model for name, (model, _) in JOBS.items()})


def require_shell(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"there is no {name} (apt-get install {name})")
    return path


@pytest.mark.parametrize(("typed", "offered"), COMPLETED)
def test_bash_completes_jobs_keys_and_values(typed: list[str], offered: str) -> None:
    asked = 'COMP_WORDS=(deepfake "$@"); COMP_CWORD=$#; _deepfake; echo "${COMPREPLY[*]}"'
    words = [require_shell("bash"), "-c", f"{write_script('bash')}\n{asked}", "bash", *typed]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (offered, "")


@pytest.mark.parametrize(("typed", "offered"), COMPLETED)
def test_fish_completes_jobs_keys_and_values(typed: list[str], offered: str, tmp_path: Path) -> None:
    line = " ".join(["deepfake", *typed])
    words = [require_shell("fish"), "--no-config", "-c", f"{write_script('fish')}\ncomplete -C '{line}'"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert (done.stdout.strip(), done.stderr) == (offered, "")


def test_zsh_completes_jobs_keys_and_values(tmp_path: Path) -> None:
    """Typed at a terminal, with a tab, in one session."""
    script = tmp_path / "completion.zsh"
    script.write_text(write_script("zsh"))
    with Terminal([require_shell("zsh"), "-f", "-i"], tmp_path) as terminal:
        terminal.type(f"PS1=; unsetopt prompt_sp; bindkey -e; source {script}; echo rea''dy\n")
        assert "ready" in terminal.read_until("ready")
        for number, (typed, offered) in enumerate(COMPLETED):
            line = " ".join(["deepfake", *typed])
            # what stands in the line afterwards is kept by a word behind it, and shown
            terminal.type(f"{line}\t\x01print -r -- 'line{number}='\x05 '=end{number}'\n")
            shown = terminal.read_until(f"=end{number}\r\n").rpartition(f"line{number}=")[2]
            assert shown.split()[len(typed)] == (offered or typed[-1])


class Terminal:
    """A program that believes that somebody types."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self._pid, self._end = pty.fork()
        if not self._pid:
            os.chdir(folder)
            os.execve(words[0], words, {**os.environ, "TERM": "dumb", "HOME": str(folder)})

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._end)
        os.waitpid(self._pid, 0)

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def read_until(self, text: str, seconds: float = 60) -> str:
        """What is shown, until that is shown as well."""
        shown, until = "", time.monotonic() + seconds
        while text not in shown and time.monotonic() < until:
            if select.select([self._end], [], [], 0.2)[0]:
                shown += os.read(self._end, 4096).decode(errors="replace")
        assert text in shown, shown
        return shown
