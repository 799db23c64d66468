"""What --help and --help-all say of each job."""

from __future__ import annotations

import re

import pytest

from deepfake.__main__ import JOBS
from deepfake.config.help import format_default, format_help
from deepfake.config.parse import list_options


@pytest.mark.parametrize("name", JOBS)
def test_help_has_the_common_keys_and_help_all_every_one_with_its_default(name):
    model, _ = JOBS[name]
    said = format_help(model, f"deepfake {name}", everything=True)
    assert not re.search("default.*default", said)
    everything = " ".join(said.split())
    for option, field in list_options(model):
        default = "required" if field.is_required() else format_default(field).strip("[]")
        words = f"{field.description} [{default}]" if default else field.description
        assert re.search(rf" --{option} (\S+ )*?{re.escape(words)}", everything), option
    short = format_help(model, f"deepfake {name}", everything=False)
    assert short.count("\n") < 80
    shown = re.findall(r"^  --(\S+)", short, re.M)
    needed = [option for option, _ in list_options(model) if "." not in option]
    assert sorted(shown) == sorted([*needed, *model.common, "config"])
