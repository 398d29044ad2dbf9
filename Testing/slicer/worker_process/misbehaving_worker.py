"""A worker that goes wrong in the way that its argument names; standard library only."""

import json
import os
import signal
import subprocess
import sys
import time

OUT = sys.stdout.buffer
JUNK = b"loading weights \xff\xfe ... done\n"


def tell(event: str, number: int = 0, *, end: bytes = b"\n", **fields: object) -> None:
    line = json.dumps({"event": event, "id": number} | fields, ensure_ascii=False)
    OUT.write(line.encode() + end)
    OUT.flush()


def log(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def ready() -> None:
    tell("ready", data={"pid": os.getpid(), "version": "0", "python": "3"})


def next_command() -> dict:
    """The next command; ends the process when there is none, as the real worker does."""
    line = sys.stdin.readline()
    command = json.loads(line) if line else {"command": "quit"}
    if command["command"] == "quit":
        sys.exit(0)
    return command


def sleep_for_ever() -> None:
    while True:
        time.sleep(60)


def good() -> None:
    """Answers each command with the command, its own environment and pid; stops when it is told to."""
    ready()
    while True:
        command = next_command()
        if command["command"] == "cancel":
            continue
        tell("started", command["id"])
        if command["command"] == "explain":
            while next_command()["command"] != "cancel":
                pass
            tell("failed", command["id"], kind="Cancelled", message="Stopped as you asked.")
        else:
            data = {"asked": command, "environment": dict(os.environ), "pid": os.getpid()}
            tell("finished", command["id"], data=data)


def cut_anywhere() -> None:
    """Every byte is its own write; lines end as on Windows; there is junk between them."""
    ready()
    number = next_command()["id"]
    text = json.dumps({"event": "stage", "id": number, "message": "Größe → 3 µm"}, ensure_ascii=False).encode()
    last = json.dumps({"event": "finished", "id": number, "message": "füñf"}, ensure_ascii=False).encode()
    for byte in text + b"\r\n" + JUNK + b"[1, 2]\n" + b'{"event": 5}\n' + b"[" * 5000 + b"\n" + last + b"\r\n":
        OUT.write(bytes([byte]))
        OUT.flush()
    next_command()


def foreign_ids() -> None:
    """Speaks of commands that nobody waits for, and goes on after the last word."""
    ready()
    number = next_command()["id"]
    tell("finished", number + 7, message="of another")
    tell("progress", number - 1, message="of the one before")
    tell("finished", "one", message="of no number")
    tell("progress", number, done=1)
    tell("finished", number, message="mine")
    tell("failed", number, message="after the end")
    tell("progress", number, message="after the end")
    next_command()


def exits_with(code: str = "7") -> None:
    ready()
    next_command()
    log("the tensor is of the wrong size\n")
    sys.exit(int(code))


def ended_by_signal(number: str = "9") -> None:
    ready()
    next_command()
    os.kill(os.getpid(), int(number))


def out_of_memory() -> None:
    ready()
    next_command()
    raise MemoryError


def dies_before_ready() -> None:
    raise ModuleNotFoundError("No module named 'numpy'")


def dies_once(marker: str) -> None:
    """Only the first one that is started with this marker file dies."""
    if os.path.exists(marker):
        good()
    with open(marker, "w"):
        exits_with("1")


def dies_when_idle() -> None:
    ready()
    tell("finished", next_command()["id"])
    sys.exit(1)


def is_never_ready() -> None:
    log("looking for a licence server\n")
    sleep_for_ever()


def writes_rubbish_only() -> None:
    while True:
        OUT.write(JUNK)
        OUT.flush()
        time.sleep(0.01)


def falls_silent() -> None:
    ready()
    tell("started", next_command()["id"])
    sleep_for_ever()


def breathes() -> None:
    """No event for long, but a sign of life now and then."""
    ready()
    number = next_command()["id"]
    for _ in range(8):
        time.sleep(0.1)
        log(".")
    tell("finished", number)
    next_command()


def writes_one_endless_line() -> None:
    ready()
    next_command()
    for _ in range(9):
        OUT.write(b"x" * (1 << 20))
    OUT.flush()
    sleep_for_ever()


def floods() -> None:
    """More junk on both pipes than they hold, before the answer."""
    ready()
    number = next_command()["id"]
    for count in range(3000):
        OUT.write(b"stdout %d " % count + b"o" * 500 + b"\n")
        log(f"stderr {count} {'e' * 500}\n")
    log("".join(f"\r{share} %" for share in range(101)) + "\n")
    tell("finished", number)
    next_command()


def ends_without_newline() -> None:
    ready()
    tell("finished", next_command()["id"], end=b"", message="my last words")


def does_not_understand() -> None:
    ready()
    next_command()
    tell("failed", 0, kind="InvalidRequest", message="That is no command.")
    next_command()


def is_stubborn() -> None:
    """Ignores cancel, quit, the end of its input and whoever asks it to terminate."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ready()
    tell("started", next_command()["id"])
    sleep_for_ever()


def waits_for_end_of_input() -> None:
    ready()
    tell("finished", next_command()["id"])
    sys.stdin.read()


def has_a_child() -> None:
    """Is as stubborn, and has started a process of its own."""
    child = subprocess.Popen(["sleep", "300"])
    ready()
    tell("progress", next_command()["id"], data={"pids": [os.getpid(), os.getppid(), child.pid]})
    sleep_for_ever()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
