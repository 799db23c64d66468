"""Follows a Containerfile in the root that it is started in, then tries the result as the image's user.

python3 .ci/rehearse_image.py CONTAINERFILE STAGE ARGUMENT=VALUE...

For a throw-away root only (.ci/bare-debian), since it becomes the image. All stages share this root, so
``COPY --from`` only sets owners, and every stage must write where the image has it. Needs no package.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

CONTEXT = Path.cwd()  # the repository, as the engine's build context


def say(text: str) -> None:
    sys.stdout.write(f"image: {text}\n")
    sys.stdout.flush()


def read_stages(path: Path) -> dict[str, list[tuple[str, str]]]:
    """``(instruction, rest of the line)`` of each stage, by its name, ``FROM`` first."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.M).replace("\\\n", " ")
    stages: dict[str, list[tuple[str, str]]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            current = stages.setdefault(rest.split(" AS ")[1], [])
        elif not stages:
            continue  # ARG BASE: the base is this root
        current.append((word, rest))
    return stages


def list_needed(stages: dict[str, list[tuple[str, str]]], wanted: str) -> list[str]:
    """The stages that ``wanted`` is made of, itself last."""
    needed: list[str] = []
    for word, rest in stages[wanted]:
        for name in rest.split()[:1] if word == "FROM" else re.findall(r"--from=([\w-]+)", rest):
            if name in stages:
                needed += [one for one in list_needed(stages, name) if one not in needed]
    return [*needed, wanted]


def follow(
    stage: list[tuple[str, str]], arguments: dict[str, str], folder: str
) -> tuple[dict[str, str], str, int]:
    """Do what a stage says, from the working directory of the one it begins with.

    Returns its environment, working directory and user.
    """
    told: dict[str, str] = {}
    user = 0
    for word, rest in stage:
        say(f"{word} {rest}")
        if word == "ENV":
            told |= dict(item.split("=", 1) for item in shlex.split(rest))
        elif word == "ARG":
            told[rest] = arguments[rest]
        elif word == "WORKDIR":
            folder = rest
            Path(folder).mkdir(parents=True, exist_ok=True)
        elif word == "USER":
            user = int(rest.split(":")[0])
        elif word == "RUN":
            subprocess.run(["sh", "-c", rest], env={**os.environ, **told}, cwd=folder, check=True)
        elif word == "COPY":
            copy(shlex.split(rest), folder)
        elif word != "FROM":
            sys.exit(f"image: {word} is not known here")
    return told, folder, user


def copy(words: list[str], folder: str) -> None:
    options = dict(word.split("=", 1) for word in words if word.startswith("--"))
    *sources, target = (word for word in words if not word.startswith("--"))
    if "--from" in options:
        assert sources == [target], "stages share one root here"
    else:
        for name in sources:
            into = Path(folder, target)
            if (CONTEXT / name).is_dir():  # what is in it, as the engine does
                shutil.copytree(CONTEXT / name, into, dirs_exist_ok=True)
            else:
                into = into / name if target.endswith("/") else into
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(CONTEXT / name, into)
    if owner := options.get("--chown"):
        subprocess.run(["chown", "-R", owner, target], check=True)


def main(path: str, wanted: str, *arguments: str) -> None:
    stages = read_stages(Path(path))
    # What the base image has and Debian has not: `python`, and a folder that installers may write to.
    Path("/usr/local/bin/python").symlink_to("/usr/bin/python3")
    os.environ |= {"UV_BREAK_SYSTEM_PACKAGES": "1", "PIP_BREAK_SYSTEM_PACKAGES": "1"}
    subprocess.run([sys.executable, "-m", "venv", "/asked"], check=True)
    asked = ["/asked/bin/pip", "config", "get", "global.index-url"]  # uv does not read pip's settings
    index = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    if index:
        os.environ.setdefault("UV_DEFAULT_INDEX", index)
    told: dict[str, str] = {}
    folders = {"${BASE}": "/"}
    for name in list_needed(stages, wanted):
        say(f"stage {name}")
        base = stages[name][0][1].split()[0]
        own, folders[name], user = follow(
            stages[name], dict(item.split("=", 1) for item in arguments), folders[base]
        )
        told |= own if name in ("runtime", wanted) else {}
    say(f"as user {user} in {folders[wanted]}, with {' '.join(told)}")
    for command in TRIED:
        say(f"$ {command}")
        subprocess.run(
            ["bash", "-lc", command], cwd=folders[wanted], user=user, group=user, extra_groups=[], check=True,
            env={"HOME": "/home/ray", "LANG": "C.UTF-8", "PATH": os.environ["PATH"], **told},
        )  # fmt: skip


# Login shells, as Ray's launcher and KubeRay start their commands. A picture without a face goes through Ray.
TRIED = (
    "python -m deepfake --version",
    "ray --version",
    "mkdir -p /tmp/in/real && python -c 'import cv2, numpy\n"
    'cv2.imwrite("/tmp/in/real/a.png", numpy.zeros((240, 320, 3), "u1"))\'',
    "python jobs/preprocess.py --input /tmp/in --output /tmp/out --ray.start always --detector.name haar",
    "cd /tmp && python -m deepfake score --help >/dev/null",
    "test ! -w /opt/deepfake/deepfake && test -w $DEEPFAKE_CACHE && ls -l $DEEPFAKE_CACHE",
)

if __name__ == "__main__":
    main(*sys.argv[1:])
