"""Lines between a program and the worker: whatever comes in, an event is told or left, a command taken or refused."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from SegExplainLib.contract import COMMANDS, EVENTS, Command, Event, ExplainRequest, InvalidRequest

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("id", "stage", "message", "done", "total", "left_s", "error", "tiles", "path", "hint", "kind", "data")
TEXTS = st.text(max_size=20)
COUNTS = st.integers(min_value=0, max_value=2**40)
SHARES = st.none() | st.floats(allow_nan=False, allow_infinity=False)
DATA = st.dictionaries(TEXTS, TEXTS | COUNTS | st.lists(TEXTS), max_size=3)


@given(st.sampled_from(EVENTS), COUNTS, TEXTS, SHARES, SHARES, DATA)
def test_an_event_comes_back_from_its_line_as_it_was(name, count, text, left_s, error, data):
    event = Event(
        event=name, id=count, stage=text, message=text, done=count, total=count, left_s=left_s, error=error,
        tiles=count, path=text, hint=text, kind=text, data=data,
    )  # fmt: skip
    line = event.to_json_line()
    assert "\n" not in line
    assert Event.from_json_line(line) == event
    assert Event.from_json_line(f"  {line}\r\n") == event


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_know_are_not_told(number):
    line = Event(event="progress", left_s=number, error=number, done=3).to_json_line()
    assert json.loads(line, parse_constant=pytest.fail) == {
        "event": "progress",
        "id": 0,
        "done": 3,
        "total": 0,
        "tiles": 0,
    }


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Downloading weights: 12%",
        "3",
        "null",
        '"ready"',
        '["finished"]',
        "{}",
        '{"event": 3}',
        '{"event": ["finished"]}',
        '{"event": {"finished": 1}}',
        '{"event": "Connection opened", "level": "info"}',
        '{"event": "finished"',
        '{"event": "finished"} {"event": "finished"}',
        "[" * 100_000,
        '{"event": "finished", "done": ' + "9" * 5000 + "}",
        "\x00\x1b[2K\r",
    ],
)
def test_what_a_library_prints_is_no_event(line):
    assert Event.from_json_line(line) is None


@given(st.text())
def test_any_text_is_an_event_or_none(line):
    assert Event.from_json_line(line) is None or json.loads(line)["event"] in EVENTS


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), JSON_VALUES, max_size=6))
def test_an_event_keeps_what_is_of_the_right_type_and_loses_the_rest(others):
    event = Event.from_json_line(json.dumps(others | {"event": "finished"}))
    assert event is not None
    assert Event.from_json_line(event.to_json_line()) == event
    for name in ("id", "done", "total", "tiles"):
        assert type(getattr(event, name)) is int
    for name in ("stage", "message", "path", "hint", "kind"):
        assert type(getattr(event, name)) is str
    for name in ("left_s", "error"):
        assert getattr(event, name) is None or math.isfinite(getattr(event, name))
    assert type(event.data) is dict


def test_a_faulty_field_leaves_the_others():
    line = '{"event": "failed", "id": 7, "done": "many", "total": 2.5, "tiles": true, "kind": null, "message": "why"}'
    assert Event.from_json_line(line) == Event(event="failed", id=7, message="why")
    assert Event.from_json_line('{"event": "progress", "error": NaN, "left_s": 3, "news": 1}') == Event(
        event="progress", left_s=3
    )


@pytest.mark.parametrize("number", ["1e999", "-Infinity", "9" * 400, "[1]", "false"])
def test_a_forecast_that_is_no_number_is_left_out(number):
    event = Event.from_json_line(f'{{"event": "progress", "left_s": {number}, "done": 2}}')
    assert event == Event(event="progress", done=2)


@given(st.sampled_from(COMMANDS), COUNTS, TEXTS, st.booleans(), DATA, st.lists(TEXTS), TEXTS)
def test_a_command_comes_back_from_its_line_as_it_was(name, number, job, resume, request, results, out):
    assume(name != "explain" or job)
    assume(name != "evaluate" or (results and out))
    command = Command(
        command=name, id=number, job=job, resume=resume, request=request, results=results, out=out, stability=results
    )
    line = command.to_json_line()
    assert "\n" not in line
    assert Command.from_json_line(line) == command


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"command": "explode"}, "no command 'explode'"),
        ({"command": 3}, "command is 3; expected str"),
        ({"command": ["explain"]}, "expected str"),
        ({"id": "1"}, "id is '1'; expected int"),
        ({"id": True}, "id is True; expected int"),
        ({"id": 1.5}, "expected int"),
        ({"job": None}, "job is None; expected str"),
        ({"resume": 1}, "resume is 1; expected bool"),
        ({"request": [1]}, "request is"),
        ({"jobb": "x"}, "jobb"),
        ({"results": "r"}, "results is 'r'; expected list"),
        ({"results": ["r", 3]}, "results is ['r', 3]; expected list"),
        ({"stability": [None]}, "stability is [None]; expected list"),
        ({"out": ["o"]}, "out is ['o']; expected str"),
        ({"command": "evaluate", "out": "o"}, "names no results folder"),
        ({"command": "evaluate", "results": ["r"]}, "names no folder to write to"),
    ],
)
def test_a_command_with_a_fault_is_refused_by_the_name_of_the_fault(change, says):
    with pytest.raises(InvalidRequest) as caught:
        Command.from_json_line(json.dumps({"command": "explain", "id": 1} | change))
    assert says in str(caught.value)


@pytest.mark.parametrize("line", ["", "quit", "[]", "3", "null", '{"id": 3}', "{" * 5, "[" * 100_000])
def test_a_line_that_is_no_command_is_refused_and_shown_in_part(line):
    with pytest.raises(InvalidRequest, match="no command") as caught:
        Command.from_json_line(line)
    assert len(str(caught.value)) < 400


def test_events_and_commands_are_values():
    event = Event(event="progress", done=1)
    assert replace(event, done=2) != event
    assert replace(event, done=1) == event


def test_paths_below_a_folder_are_made_absolute_and_links_keep_their_names(tmp_path):
    (tmp_path / "f00d").write_text("voxels")
    (tmp_path / "ct.nrrd").symlink_to(tmp_path / "f00d")
    request = ExplainRequest(ct="ct.nrrd", model="totalsegmentator:297", target="liver", roi="mask: ct.nrrd")
    found = request.with_paths_from(tmp_path)
    assert (found.ct, found.roi) == (str(tmp_path / "ct.nrrd"), f"mask:{tmp_path / 'ct.nrrd'}")
    assert (found.model, found.organs) == ("totalsegmentator:297", "")
