import subprocess
import sys

SCRIPT = """
import os, signal, sys
from launch.worker_context import worker_context

def work():
    print("alive", flush=True)

if __name__ == "__main__":
    context = worker_context()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.killpg(0, signal.SIGINT)  # as a terminal does, while the server is at its imports
    process = context.Process(target=work)
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


def test_ctrl_c_does_not_reach_the_server_while_it_imports(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        capture_output=True,
        text=True,
        start_new_session=True,
        env={"PYTHONPATH": ":".join(sys.path)},
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")
