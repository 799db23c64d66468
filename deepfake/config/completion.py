"""A bash script that completes the command's jobs, their keys, and the values of keys that have a few."""

from collections.abc import Mapping
from typing import Literal, get_args, get_origin

from deepfake.config.jobs import JobConfig
from deepfake.config.parse import list_options, list_recipes

_SCRIPT = """\
_deepfake() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words=
    if (( COMP_CWORD == 1 )); then
        words="{jobs} completion --help --version"
    else
        case ${{COMP_WORDS[COMP_CWORD-1]}} in
{values}
        esac
        if [[ -z $words && $word == -* ]]; then
            case ${{COMP_WORDS[1]}} in
{keys}
            esac
        fi
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _deepfake deepfake"""


def write_completion(jobs: Mapping[str, type[JobConfig]]) -> str:
    """The script; ``jobs`` by their names, of which a second word is an option that means another job."""
    keys: dict[str, list[str]] = {}
    values = {"config": " ".join(list_recipes())}
    for name, model in jobs.items():
        job, *option = name.split()
        keys.setdefault(job, ["--config", "--help", "--help-all", *option])
        for key, info in list_options(model):
            keys[job].append(f"--{key}")
            if get_origin(info.annotation) is Literal:
                values[key] = " ".join(map(str, get_args(info.annotation)))
    return _SCRIPT.format(
        jobs=" ".join(keys),
        values="\n".join(f'            --{key}) words="{said}" ;;' for key, said in values.items()),
        keys="\n".join(
            f'                {job}) words="{" ".join(dict.fromkeys(said))}" ;;' for job, said in keys.items()
        ),
    )
