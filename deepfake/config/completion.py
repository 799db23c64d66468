"""A script with which a shell completes jobs, their keys, and the values of keys that have a few."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args, get_origin

from deepfake.config.jobs import JobConfig
from deepfake.config.parse import list_options, list_recipes


@dataclass(frozen=True)
class Shell:
    """How a shell is told: the script, and in it what is offered after a key or for a job."""

    script: str
    case: str


# Three ways to say: the first word is a job; after a key come its values; what begins with a dash is a key.
SHELLS = {
    "bash": Shell(
        """\
_deepfake() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words=
    if (( COMP_CWORD == 1 )); then
        words="{first}"
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
complete -o default -F _deepfake deepfake""",
        '{name}) words="{offered}" ;;',
    ),
    "zsh": Shell(
        """\
_deepfake() {{
    local -a offered
    if (( CURRENT == 2 )); then
        offered=({first})
    else
        case ${{words[CURRENT-1]}} in
{values}
        esac
        if (( ! $#offered )) && [[ $PREFIX == -* ]]; then
            case ${{words[2]}} in
{keys}
            esac
        fi
    fi
    if (( $#offered )); then compadd -- $offered; else _files; fi
}}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit; }}
compdef _deepfake deepfake""",
        "{name}) offered=({offered}) ;;",
    ),
    "fish": Shell(
        """\
function __deepfake_offer
    set -l words (commandline -opc)
    if test (count $words) -eq 1
        printf '%s\\n' {first}
        return
    end
    switch $words[-1]
{values}
    end
    if string match -q -- '-*' (commandline -ct)
        switch $words[2]
{keys}
        end
    end
end
complete -c deepfake -n 'count (__deepfake_offer) >/dev/null' -f -a '(__deepfake_offer)'""",
        "case {name}; printf '%s\\n' {offered}; return",
    ),
}


def write_completion(shell: str, jobs: Mapping[str, type[JobConfig]]) -> str:
    """The script for one of ``SHELLS``.

    ``jobs`` are by their names, of which a second word is an option that means another job.
    """
    keys: dict[str, list[str]] = {}
    values = {"--config": list_recipes(), "completion": list(SHELLS)}
    for name, model in jobs.items():
        job, *option = name.split()
        keys.setdefault(job, ["--config", "--help", "--help-all", *option])
        for key, info in list_options(model):
            keys[job].append(f"--{key}")
            if get_origin(info.annotation) is Literal:
                values[f"--{key}"] = list(map(str, get_args(info.annotation)))
    told = SHELLS[shell]

    def list_cases(offers: Mapping[str, list[str]], indent: int) -> str:
        lines = (
            told.case.format(name=name, offered=" ".join(dict.fromkeys(words)))
            for name, words in offers.items()
        )
        return "\n".join(" " * indent + line for line in lines)

    return told.script.format(
        first=" ".join([*keys, "completion", "--help", "--version"]),
        values=list_cases(values, 12),
        keys=list_cases(keys, 16),
    )
