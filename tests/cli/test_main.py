import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli import main as command
from cli.main import COMMANDS, main
from cli.screen import Interrupted, Screen, printable
from runtime.errors import FuncpipeError

ROOT = Path(__file__).parents[2]


def fresh(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Runs ``code`` in a new interpreter."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60, env=environment, check=False
    )


def test_the_parsers_load_nothing_heavy():
    code = (
        "import sys; from cli.main import make_parser; make_parser(); "
        "print(sorted({'torch', 'boto3', 'botocore', 'numpy', 'rich', 'aws_cdk'} & set(sys.modules)))"
    )
    assert fresh(code).stdout.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_and_json(name, capsys):
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "example" in shown
    assert "--json" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: COMMAND"),
        (["no-such"], "invalid choice: 'no-such'"),
        (["watch"], "required: RUN"),
        (["watch", "x", "--no-such"], "--no-such"),
        (["watch", "x", "--js"], "--js"),
        (["run", "m.json", "--latency-ms", "fast"], "invalid float value: 'fast'"),
    ],
)
def test_arguments_that_cannot_be_used_exit_2_with_usage(arguments, said, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err and "usage: funcpipe" in captured.err


def test_with_json_an_error_is_an_object_on_stdout(capsys):
    assert main(["watch", "--json"]) == 2
    captured = capsys.readouterr()
    assert "required: RUN" in json.loads(captured.out)["error"]
    assert "error: " in captured.err


def test_an_option_after_two_dashes_is_not_ours(capsys):
    assert main(["watch", "--", "--json"]) == 2
    assert capsys.readouterr().out == ""


@pytest.fixture
def handled_by(monkeypatch, tmp_path):
    """Makes ``funcpipe watch x`` call the given function."""
    monkeypatch.chdir(tmp_path)

    def use(handler):
        parser = command.make_parser()

        class Fixed:
            def parse_args(self, arguments):
                args = parser.parse_args(arguments)
                args.handler = handler
                return args

        monkeypatch.setattr(command, "make_parser", Fixed)

    return use


def raising(error: BaseException):
    def handler(args, screen):
        raise error

    return handler


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (FuncpipeError("the network is down"), 1, "the network is down"),
        (Interrupted("run x goes on"), 130, "run x goes on"),
        (KeyboardInterrupt(), 130, "no run was started or stopped"),
    ],
)
def test_expected_ends_have_their_status_and_no_traceback(handled_by, capsys, error, status, said):
    handled_by(raising(error))
    assert main(["watch", "x", "--json"]) == status
    captured = capsys.readouterr()
    assert said in json.loads(captured.out)["error"]
    assert "Traceback" not in captured.err


def test_a_bug_leaves_its_traceback_in_a_file(handled_by, capsys, tmp_path):
    handled_by(raising(ZeroDivisionError("division by zero")))
    assert main(["watch", "x"]) == 1
    captured = capsys.readouterr()
    assert "unexpected ZeroDivisionError: division by zero" in captured.err and "Traceback" not in captured.err
    (log,) = (tmp_path / ".funcpipe" / "logs").iterdir()
    assert log.name in captured.err
    assert "ZeroDivisionError" in log.read_text() and "Traceback" in log.read_text()


@pytest.mark.parametrize("arguments", [["--help"], ["watch", "nobody", "--json"]])
def test_a_reader_that_has_enough_gets_no_complaint(arguments, tmp_path):
    code = (
        "import os, sys; from cli.main import main\n"
        "os.chdir(sys.argv.pop(1))\n"
        "read, write = os.pipe(); os.close(read); os.dup2(write, 1)\n"
        "sys.exit(main())"
    )
    done = fresh(code, str(tmp_path), *arguments)
    assert "Exception" not in done.stderr and "Errno" not in done.stderr
    assert done.returncode in (0, 1)


def test_results_go_to_stdout_and_words_to_stderr(capsys):
    screen = Screen(json=True)
    screen.info("working [bold]hard[/bold]")
    screen.warn("slow")
    screen.result({"loss": float("nan"), "losses": [1.0, float("inf")], "shape": (1, 2)}, "not shown")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"loss": None, "losses": [1.0, None], "shape": [1, 2]}
    assert captured.err == "working [bold]hard[/bold]\nwarning: slow\n"


def test_a_failure_after_the_result_adds_no_second_object(capsys):
    screen = Screen(json=True)
    screen.result({"a": 1}, "")
    screen.fail("too late")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": 1}
    assert "too late" in captured.err


def test_two_results_are_a_bug():
    screen = Screen(json=True)
    screen.result({}, "")
    with pytest.raises(RuntimeError, match="two JSON objects"):
        screen.result({}, "")


def test_long_lines_are_not_broken_and_control_codes_do_not_get_out(capsys):
    Screen().result({}, "x" * 300 + "\x1b[31m")
    shown = capsys.readouterr().out
    assert shown.startswith("x" * 300) and "\x1b" not in shown


def test_printable_keeps_lines_and_tabs():
    assert printable("a\tb\r\nc\rd\x07\x9b") == "a\tb\nc\ufffdd\ufffd\ufffd"
