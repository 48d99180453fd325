"""Parts without a server: events, inputs, documents, options and bodies."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeprove import AsyncClient, Client, EdgeproveError, Retry, wire
from edgeprove._body import Source, form_body, witness_body
from edgeprove._decode import decode
from edgeprove._inputs import inputs_body
from edgeprove._sse import EVENT_MAX, EventParser, ServerEvent

NOTHING: dict[str, Any] = dict.fromkeys(("gates", "circuit_size", "vk_hash", "vk"))
CIRCUIT = wire.Circuit(
    id="c", status="ready", target="evm", targets=["evm"], origin="configured", **NOTHING,
    inputs=[wire.CircuitInput("a", {}, "private"), wire.CircuitInput("b", {}, "public")],
)  # fmt: skip
STREAM = (
    b': comment\n\nid: 1\r\nevent: progress\r\ndata: {"a":1}\r\n\r\ndata:x\ndata: y\n\nid: 2\revent: done\rdata: z\r\r'
    b"data: lost, because no empty line follows\n"
)
EVENTS = [ServerEvent("1", "progress", '{"a":1}'), ServerEvent("1", "message", "x\ny"), ServerEvent("2", "done", "z")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_found_however_the_stream_is_cut(size: int) -> None:
    parser = EventParser()
    found: list[ServerEvent] = []
    for at in range(0, len(STREAM), size):
        found += parser.feed(STREAM[at : at + size])
    assert found == EVENTS


def test_an_event_has_a_bound_and_comments_do_not_count() -> None:
    parser = EventParser()
    for _ in range(100):
        assert parser.feed(b": " + b"x" * 50_000 + b"\n\n") == []
    with pytest.raises(EdgeproveError, match="answer_too_large"):
        for _ in range(EVENT_MAX // 1000 + 2):
            parser.feed(b"data: " + b"x" * 1000 + b"\n")
    with pytest.raises(EdgeproveError, match="answer_too_large"):
        long = EventParser()
        for _ in range(EVENT_MAX // 1000 + 2):
            long.feed(b"x" * 1000)


def content(inputs: dict[Any, Any], circuit: wire.Circuit = CIRCUIT) -> str:
    return b"".join(inputs_body(inputs, circuit).pieces()).decode()


def test_inputs_are_split_by_visibility_and_keep_their_digits() -> None:
    assert content({"a": 1, "b": 2}) == '{"privateInputs":{"a":1},"publicInputs":{"b":2}}'
    of_circom = dataclasses.replace(CIRCUIT, inputs=None)
    assert content({"a": 1, "b": 2}, of_circom) == '{"privateInputs":{"a":1,"b":2}}'
    big = 2**253
    values = {"a": [big, -big, 2**53 - 1, True, "0x1", b"\x01\xff", (1, {"x": 5})]}
    expected = f'["{big}","-{big}",9007199254740991,true,"0x1",[1,255],[1,{{"x":5}}]]'
    assert content(values) == f'{{"privateInputs":{{"a":{expected}}},"publicInputs":{{}}}}'


def test_inputs_that_are_none_are_named_by_their_path() -> None:
    class Whole:
        def __index__(self) -> int:
            return 7

    assert '"a":7' in content({"a": Whole()})
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    for wrong, path in (
        (1.5, "a"), (float("nan"), "a"), (None, "a"), ({1, 2}, "a"), ([1, [2.5]], "a[1][0]"), ({"x": None}, "a.x"),
        ({7: 1}, "a"), (10**400, "a"),
    ):  # fmt: skip
        with pytest.raises(EdgeproveError) as caught:
            content({"a": wrong})
        assert caught.value.code == "invalid_inputs" and caught.value.field == path
    with pytest.raises(EdgeproveError, match="nested too deep"):
        content({"a": deep})


def test_documents_are_checked_and_new_members_ignored() -> None:
    verdict = decode(wire.Verdict, {"valid": True, "verifiedBy": "bb", "new": 1})
    assert verdict == wire.Verdict(True, "bb")
    for document, reason in (
        ([], "should be an object"), ({"valid": True}, "`verifiedBy` is missing"),
        ({"valid": 1, "verifiedBy": "bb"}, "`valid` should be true or false and is a number"),
        ({"valid": True, "verifiedBy": None}, "`verifiedBy` should be a text and is null"),
    ):  # fmt: skip
        with pytest.raises(EdgeproveError) as caught:
            decode(wire.Verdict, document)
        assert caught.value.code == "bad_answer" and reason in caught.value.detail
    with pytest.raises(EdgeproveError, match="number without bounds"):
        decode(wire.ServerTimings, dict.fromkeys((f.name for f in dataclasses.fields(wire.ServerTimings)), 10**400))


def test_options_are_checked_before_anything_is_sent() -> None:
    good = "https://prover.example"
    makers: tuple[Callable[[], object], ...] = (
        lambda: Client(""), lambda: Client("prover.example"), lambda: Client("ftp://prover.example"),
        lambda: Client("https://user:secret@prover.example"), lambda: Client("https://prover.example:99999"),
        lambda: Client(good, timeout=0), lambda: Client(good, timeout=float("inf")), lambda: Client(good, timeout=True),
        lambda: Client(good, api_key="a b"), lambda: Client(good, api_key=""), lambda: Client(good, api_key="a\nb"),
        lambda: Retry(attempts=0), lambda: Retry(max_delay=-1), lambda: Retry(max_delay=float("nan")),
    )  # fmt: skip
    for make in makers:
        with pytest.raises(EdgeproveError) as caught:
            make()
        assert caught.value.code == "invalid_option" and "secret" not in str(caught.value)
    with Client(f"{good}/below/?query#hash") as made:
        assert repr(made) == "Client('https://prover.example/below')"
        # A caller without a type checker.
        client: Any = made
        calls: tuple[Callable[[], object], ...] = (
            lambda: client.prove("c"), lambda: client.prove("c", {}, witness=b""),
            lambda: client.prove("c", witness="x"), lambda: client.prove("c", b"x"),
            lambda: client.prove("c", witness=b"", deadline=0),
            lambda: client.prove("c", witness=b"", idempotency_key="a,b"), lambda: client.prove("", witness=b""),
            lambda: client.prove("c", witness=b"", priority="urgent!"), lambda: client.prove("c", {}, delivery="mail"),
            lambda: client.jobs.submit("c", witness=b"", callback_url="https://a b"), lambda: client.jobs.get(""),
            lambda: client.prove("c", witness=io.StringIO("text")), lambda: client.circuits.upload("a/b", program=b""),
        )  # fmt: skip
        for call in calls:
            with pytest.raises(EdgeproveError) as caught:
                call()
            assert caught.value.code == "invalid_option"


def test_both_clients_have_the_same_methods() -> None:
    def names(kind: type[Any]) -> set[str]:
        return {name.replace("aclose", "close") for name in vars(kind) if not name.startswith("_")}

    assert names(Client) == names(AsyncClient)


def test_a_body_is_streamed_and_sent_again(tmp_path: Path) -> None:
    file = tmp_path / "witness"
    file.write_bytes(b"x" * 200_000)
    with file.open("rb") as opened:
        opened.seek(100_000)
        for body, length in ((witness_body(file), 200_000), (witness_body(opened), 100_000), (witness_body(b"ab"), 2)):
            assert body.is_repeatable and body.length == length
            for _ in range(2):
                pieces = list(body.pieces())
                assert len(b"".join(pieces)) == length and max(map(len, pieces)) <= 65536

    class Pipe(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return 0

    piped = witness_body(io.BufferedReader(Pipe()))
    assert not piped.is_repeatable and piped.length is None and list(piped.pieces()) == []
    shrinking = Source(file)
    file.write_bytes(b"x")
    with pytest.raises(EdgeproveError, match="became shorter"):
        list(shrinking.pieces())
    form = form_body({"name": "a"}, [("program", file)])
    assert form.length == len(b"".join(form.pieces()))
