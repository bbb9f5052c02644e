"""Sets up what the make targets need, once, in the project's folder, as an ordinary user.

    .venv           the kit, its tests, and the Python that local functions run in
    .venv-emulator  the AWS emulator (its botocore is pinned by it)
    node_modules    the CDK command, and the SDK that CDK's own custom resources need

Each is stamped with a digest of what it was made from, and brought up to date when that changes, or made anew when
making it was interrupted. CUDA libraries are never downloaded: on Linux only a ``+cpu`` build of torch is taken.

Kept to syntax that an old Python can parse, so that it can say which Python is needed.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STATE = os.path.join(ROOT, ".funcpipe")
LOG = os.path.join(STATE, "setup.log")
STAMP = "funcpipe-setup-stamp"
TORCH = "torch==2.13.0"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# Not sys.executable: with .venv activated, that one is about to be removed.
BASE_PYTHON = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 20
PIP_ENVIRONMENT = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_USER": "0"}


class SetupError(Exception):
    """Set-up cannot go on; the message says why and what to do."""


def main():
    check_python()
    check_node()
    os.makedirs(STATE, exist_ok=True)
    with open(os.path.join(STATE, "setup.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("setup: waiting for another set-up of this folder to finish", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        kit = ["requirements-dev.txt", "requirements.txt", "constraints.txt", "runtime/requirements.txt"]
        kit += ["examples/requirements.txt", "pyproject.toml"]
        make("Python packages of the kit", ".venv", kit, install_kit)
        make("Python packages of the emulator", ".venv-emulator", ["requirements-emulator.txt"], install_emulator)
        make("CDK command", "node_modules", ["package.json", "package-lock.json"], install_node)


def check_python():
    if sys.version_info < OLDEST_PYTHON:
        raise SetupError(
            "Python %d.%d or newer is needed, %s is %s. Install one and name it: make PYTHON=python3.11"
            % (*OLDEST_PYTHON, sys.executable, platform.python_version())
        )


def check_node():
    found = {name: shutil.which(name) for name in ("node", "npm")}
    missing = [name for name, path in sorted(found.items()) if path is None]
    advice = "Install Node.js %d or newer with npm, and run this again." % OLDEST_NODE
    if missing:
        raise SetupError(
            "The CDK command needs Node.js, and these are not on PATH: %s. %s" % (", ".join(missing), advice)
        )
    version = subprocess.run(
        [found["node"], "--version"], check=False, stdout=subprocess.PIPE, universal_newlines=True
    ).stdout.strip()
    if not version.lstrip("v").split(".")[0].isdigit() or int(version.lstrip("v").split(".")[0]) < OLDEST_NODE:
        raise SetupError("Node.js %d or newer is needed, %s is %r. %s" % (OLDEST_NODE, found["node"], version, advice))


def make(what, folder, inputs, install):
    """Makes ``folder`` by ``install(path)`` unless its stamp says that it was made from the same inputs."""
    path = os.path.join(ROOT, folder)
    stamp = os.path.join(path, STAMP)
    # Virtual environments cannot be moved, nor used with another Python.
    place = sha256(("%s %s %s" % (sys.version, BASE_PYTHON, path)).encode())
    wanted = [place, digest_of(inputs)]
    found = read_lines(stamp)
    if found == wanted:
        return
    started = time.monotonic()
    print("setup: %s ..." % what, end=" ", flush=True)
    try:
        if found[:1] == [place] and not os.path.islink(path):
            os.unlink(stamp)  # whole until now; if this is interrupted, it is made anew
        else:
            remove(path)
        install(path)
        with open(stamp, "w") as file:
            file.write("\n".join(wanted))
    except BaseException:
        print("failed", flush=True)
        raise
    print("%.0f s" % (time.monotonic() - started), flush=True)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def digest_of(names):
    """One digest of the contents of files of the project."""
    digests = []
    for name in names:
        with open(os.path.join(ROOT, name), "rb") as file:
            digests.append(sha256(file.read()))
    return sha256(" ".join(digests).encode())


def read_lines(path):
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []


def remove(path):
    if os.path.islink(path):
        os.unlink(path)
    elif os.path.exists(path):
        shutil.rmtree(path)


def install_kit(path):
    run([BASE_PYTHON, "-m", "venv", path])
    python = os.path.join(path, "bin", "python")
    pip = [python, "-m", "pip", "install", "--quiet"]
    if sys.platform.startswith("linux"):
        install_cpu_torch(pip)
    run([*pip, "-r", os.path.join(ROOT, "requirements-dev.txt")])
    run([*pip, "--no-deps", "--editable", ROOT])
    check_no_cuda(python)


def install_cpu_torch(pip):
    """A local version label must match exactly, so that no CUDA build can satisfy ``+cpu``."""
    wanted = [*pip, "--no-deps", "--retries", "1", TORCH + "+cpu"]
    try:
        run(wanted)
    except SetupError:
        try:
            run([*wanted, "--timeout", "5", "--index-url", TORCH_CPU_INDEX])
        except SetupError as error:
            raise SetupError(
                "%s\nNo CPU build of torch: pip's configured sources have no %s+cpu, and %s cannot be reached.\n"
                "Put its wheel for this Python into a folder, set PIP_FIND_LINKS to that folder, and run this again."
                % (error, TORCH, TORCH_CPU_INDEX)
            ) from None


def check_no_cuda(python):
    listing = (
        "from importlib.metadata import distributions; "
        "print(*sorted(d.metadata['Name'].lower() + '==' + d.version for d in distributions()))"
    )
    names = subprocess.run(
        [python, "-c", listing], stdout=subprocess.PIPE, universal_newlines=True, check=True
    ).stdout.split()
    torch = [name for name in names if name.startswith("torch==")]
    expected = [TORCH + "+cpu"] if sys.platform.startswith("linux") else [TORCH]
    cuda = [name for name in names if name.startswith(("nvidia-", "cuda-", "triton"))]
    if torch != expected or cuda:
        raise SetupError(
            "The environment should hold %s and no CUDA package (torch: %s, CUDA packages: %s). "
            "Look for a pip setting that replaces versions." % (expected[0], torch, cuda)
        )


def install_emulator(path):
    run([BASE_PYTHON, "-m", "venv", path])
    requirements = os.path.join(ROOT, "requirements-emulator.txt")
    run([os.path.join(path, "bin", "python"), "-m", "pip", "install", "--quiet", "-r", requirements])


def install_node(path):
    run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"])


def run(command):
    """Runs a command with its output in the log; the end of the log is shown when it fails."""
    with open(LOG, "a+", errors="replace") as log:
        log.write("$ %s\n" % " ".join(command))
        log.flush()
        begin = log.tell()
        done = subprocess.run(
            command,
            check=False,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(os.environ, **PIP_ENVIRONMENT),
        )
        if done.returncode == 0:
            return
        log.seek(begin)
        tail = log.read().splitlines()[-15:]
    raise SetupError(
        "This command failed with exit status %d:\n  %s\n%s\nAll of its output: %s"
        % (done.returncode, " ".join(command), "\n".join("  | " + line for line in tail), LOG)
    )


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        sys.exit("setup: %s" % error)
    except KeyboardInterrupt:
        sys.exit("setup: interrupted. What was finished is kept; run it again to go on.")
