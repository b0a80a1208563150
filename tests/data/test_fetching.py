"""Fetching from a real server on this machine that has real faults."""

import fcntl
import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zenodo_server import (
    ZenodoServer,
    cut_after,
    ignore_range,
    page,
    redirect,
    refuse,
    send,
    stall_after,
    wrong_range,
)

from gan3d.data import download, fetching
from gan3d.data.download import Patience, ResumingDownloader
from gan3d.data.fetching import ChecksumError, fetch, read_record
from gan3d.data.zenodo import PublicDataSet
from gan3d.errors import DataError, UsageError

DATA_SET = PublicDataSet("test-showers", 7, "random bytes")
A, B = (np.random.default_rng(seed).bytes(700_000) for seed in (0, 1))
PATIENCE = Patience(attempts=3, stall_s=10.0, back_off_s=0.0)


class Watcher:
    """Keeps what it is told."""

    def __init__(self):
        self.told = []
        self.done = []

    def __getattr__(self, name):
        return lambda file: self.told.append((name, file.name))

    def downloading(self, file, done_bytes):
        self.done.append(done_bytes)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    server = ZenodoServer()
    server.files = {"a.h5": A, "b.h5": B}
    yield server
    server.close()


@pytest.fixture
def run(server, tmp_path):
    """Fetch into the folder `out`; what was told is in `run.watcher`."""

    def run(*patterns, patience=PATIENCE):
        run.watcher = Watcher()
        return fetch(
            DATA_SET, out, run.watcher, patterns=patterns, base_url=server.url, patience=patience
        )

    out = run.out = tmp_path / "new" / "out"
    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_all_files_of_a_record_and_the_record_are_fetched(run):
    paths = run()
    assert [path.read_bytes() for path in paths] == [A, B]
    assert names(run.out) == ["a.h5", "b.h5", "zenodo-7.json"]
    assert run.watcher.told == [("is_fetched", "a.h5"), ("is_fetched", "b.h5")]
    assert run.watcher.done[-1] == len(B)


def test_what_is_there_with_the_right_checksum_is_not_fetched_again(run, server):
    run()
    server.contents.clear()
    run()
    assert server.contents == []
    assert ("is_there", "a.h5") in run.watcher.told


@pytest.mark.parametrize("content", [A[:-1], bytes(len(A))], ids=["size", "content"])
def test_what_is_there_but_wrong_is_replaced(run, server, content):
    run.out.mkdir(parents=True)
    (run.out / "a.h5").write_bytes(content)
    run("a.h5")
    assert (run.out / "a.h5").read_bytes() == A
    assert ("differs", "a.h5") in run.watcher.told


def test_a_cut_connection_is_taken_up_where_it_was_cut(run, server):
    server.faults["a.h5"].extend([cut_after(300_000), cut_after(100_000)])
    run("a.h5")
    assert (run.out / "a.h5").read_bytes() == A
    assert server.contents == [
        ("a.h5", None),
        ("a.h5", "bytes=300000-"),
        ("a.h5", "bytes=400000-"),
    ]


def test_a_second_call_goes_on_where_the_first_gave_up(run, server):
    server.faults["a.h5"].extend([cut_after(300_000), *[cut_after(0)] * 3])
    with pytest.raises(DataError, match=r"a\.h5/content: given up after 3 attempts") as raised:
        run("a.h5")
    assert "\n" not in str(raised.value)
    assert not (run.out / "a.h5").exists()
    server.contents.clear()
    run("a.h5")
    assert server.contents == [("a.h5", "bytes=300000-")]
    assert (run.out / "a.h5").read_bytes() == A
    assert names(run.out) == ["a.h5", "zenodo-7.json"]


def test_attempts_that_bring_something_do_not_count_as_failures(run, server):
    server.faults["a.h5"].extend([refuse(503), refuse(503), cut_after(1000)] * 3)
    run("a.h5")
    assert (run.out / "a.h5").read_bytes() == A


@pytest.mark.parametrize("fault", [ignore_range, wrong_range, refuse(416)])
def test_a_server_that_does_not_continue_begins_anew(run, server, fault):
    server.faults["a.h5"].extend([cut_after(300_000), fault])
    run("a.h5")
    assert (run.out / "a.h5").read_bytes() == A


def test_a_silent_connection_is_cut_and_taken_up(run, server):
    server.faults["a.h5"].append(stall_after(300_000))
    run("a.h5", patience=Patience(attempts=1, stall_s=0.3, back_off_s=0.0))
    assert (run.out / "a.h5").read_bytes() == A
    assert server.contents[1] == ("a.h5", "bytes=300000-")


def test_a_corrupted_file_is_named_with_both_checksums_and_does_not_stay(run, server):
    bad = b"x" + A[1:]
    server.faults["a.h5"].append(send(bad))
    with pytest.raises(ChecksumError) as raised:
        run()
    message = str(raised.value)
    assert message.startswith(f"{run.out / 'a.h5'}: ")
    assert hashlib.md5(A).hexdigest() in message
    assert hashlib.md5(bad).hexdigest() in message
    assert "\n" not in message
    assert names(run.out) == ["b.h5", "zenodo-7.json"]
    run()
    assert (run.out / "a.h5").read_bytes() == A


def test_a_corrupted_beginning_is_not_continued_for_ever(run, server):
    server.faults["a.h5"].extend([send(b"x" * 100), *[cut_after(0)] * 3])
    with pytest.raises(DataError, match="given up"):
        run("a.h5")
    with pytest.raises(ChecksumError):
        run("a.h5")
    run("a.h5")
    assert (run.out / "a.h5").read_bytes() == A


def test_a_missing_file_is_named_with_its_address(run, server):
    server.faults["a.h5"].append(refuse(404))
    with pytest.raises(DataError, match=rf"^{server.url}.*a\.h5/content: is not there \(404"):
        run()


def test_a_refusal_is_not_asked_again(run, server):
    server.faults["a.h5"].append(refuse(403))
    with pytest.raises(DataError, match=r"refuses \(403"):
        run()
    assert len(server.contents) == 1


def test_waits_double_and_follow_the_server(run, server, monkeypatch):
    waits = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    server.faults["a.h5"].extend(
        [refuse(503), refuse(500), refuse(429, Retry_After="9"), refuse(429, Retry_After="999")]
    )
    run("a.h5", patience=Patience(attempts=5, back_off_s=1.0, longest_wait_s=60.0))
    assert waits == [1.0, 2.0, 9.0, 60.0]
    assert (run.out / "a.h5").read_bytes() == A


def test_a_server_that_sends_more_than_stated_is_stopped(run, server):
    server.faults["a.h5"].append(send(A + b"more"))
    with pytest.raises(DataError, match=f"sends more than the {len(A)} bytes"):
        run("a.h5")
    run("a.h5")
    assert (run.out / "a.h5").read_bytes() == A


def test_a_server_that_sends_less_than_stated_is_given_up(run, server):
    server.faults["a.h5"].extend([send(A[:10])] * 4)
    with pytest.raises(DataError, match="given up after 3 attempts"):
        run("a.h5")
    assert not (run.out / "a.h5").exists()


def test_a_number_of_all_versions_leads_to_the_newest(run, server):
    server.pages["/api/records/7"] = refuse(404)
    server.pages["/records/7"] = redirect("/records/8")
    server.pages["/records/8"] = page()
    run("a.h5")
    assert (run.out / "a.h5").read_bytes() == A


def test_a_record_that_is_not_there_is_an_error(run, server):
    server.pages["/api/records/7"] = refuse(404)
    server.pages["/records/7"] = page()
    with pytest.raises(DataError, match=r"/api/records/7: is not there \(404"):
        run()


def test_a_page_in_place_of_a_record_is_an_error(run, server):
    server.pages["/api/records/7"] = page(b"<html>log in</html>")
    with pytest.raises(DataError, match="records/7: is no Zenodo record"):
        run()
    assert not run.out.exists()


def test_a_record_that_points_outside_brings_nothing(run, server):
    server.files["../escaped.h5"] = b"x"
    with pytest.raises(DataError, match=r"named '\.\./escaped\.h5': refused"):
        run()
    assert server.contents == []
    assert not run.out.exists()


@pytest.mark.parametrize("patterns", [["b.h5"], ["b*"], ["?.h5", "a*"]], ids=str)
def test_only_files_that_match_are_fetched(run, patterns):
    expected = ["a.h5", "b.h5"] if len(patterns) > 1 else ["b.h5"]
    assert [path.name for path in run(*patterns)] == expected
    assert names(run.out) == [*expected, "zenodo-7.json"]


def test_a_pattern_without_a_match_names_the_files(run, server):
    with pytest.raises(UsageError, match=r"matches 'c\*'; there are a\.h5, b\.h5"):
        run("a.h5", "c*")
    assert server.contents == []


def test_too_little_space_is_said_before_anything_is_fetched(run, server, monkeypatch):
    class Usage:
        free = len(A) + len(B) - 1

    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda path: Usage)
    with pytest.raises(DataError, match=r"0\.0 GB are free, 0\.0 GB are needed"):
        run()
    assert server.contents == []
    # What is there in part needs its space no more.
    server.faults["a.h5"].extend([cut_after(300_000), *[cut_after(0)] * 3])
    with pytest.raises(DataError, match="given up"):
        run("a.h5")
    run()


def part(folder):
    return folder / f".a.h5.{hashlib.md5(A).hexdigest()[:8]}.part"


def test_a_full_disk_is_one_clear_line(run):
    run.out.mkdir(parents=True)
    part(run.out).symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"\.part: cannot be written: No space left on device"):
        run("a.h5")
    assert not (run.out / "a.h5").exists()


def test_a_file_that_another_process_downloads_is_left_alone(run):
    run.out.mkdir(parents=True)
    with part(run.out).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is downloading"):
            run("a.h5")
    run("a.h5")


def test_an_overlong_part_is_thrown_away(run, server):
    run.out.mkdir(parents=True)
    part(run.out).write_bytes(A + b"more")
    run("a.h5")
    assert server.contents == [("a.h5", None)]
    assert (run.out / "a.h5").read_bytes() == A


@pytest.fixture
def nobody(server):
    """Zenodo cannot be reached from now on."""
    server.close()


def test_without_internet_the_address_is_given(run, nobody):
    with pytest.raises(DataError) as raised:
        run()
    message = str(raised.value)
    assert "Connection refused" in message
    assert "the files of https://zenodo.org/records/7 and" in message
    assert "zenodo-7.json, https://zenodo.org/api/records/7" in message
    assert "\n" not in message
    assert not run.out.exists()


def test_without_internet_what_was_put_there_by_hand_is_verified(run, server):
    run()
    server.close()
    assert len(run()) == 2
    (run.out / "a.h5").unlink()
    (run.out / "b.h5").write_bytes(bytes(len(B)))
    with pytest.raises(DataError) as raised:
        run()
    missing, wrong = str(raised.value).splitlines()
    assert missing.startswith(f"{run.out / 'a.h5'}: is missing")
    assert missing.endswith(f"fetch {server.url}/api/records/7/files/a.h5/content by hand")
    assert f"expected {hashlib.md5(B).hexdigest()}" in wrong


def test_a_folder_that_cannot_be_made_is_an_error_before_the_network(tmp_path, server):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is not a folder"):
        fetch(DATA_SET, tmp_path / "file" / "x", Watcher(), base_url=server.url)


def test_a_record_is_read_without_a_folder(server):
    assert [file.name for file in read_record(DATA_SET, base_url=server.url).files] == [
        "a.h5",
        "b.h5",
    ]


@pytest.fixture(scope="module")
def lasting_server():
    server = ZenodoServer()
    yield server
    server.close()


@given(content=st.binary(max_size=300), cuts=st.lists(st.integers(0, 100), max_size=8))
def test_whatever_the_cuts_the_content_arrives(lasting_server, content, cuts):
    lasting_server.files = {"c": content}
    lasting_server.contents.clear()
    lasting_server.faults["c"].clear()
    lasting_server.faults["c"].extend(cut_after(count) for count in cuts)
    patience = Patience(attempts=len(cuts) + 1, stall_s=10.0, back_off_s=0.0)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out"
        ResumingDownloader(Path(folder) / "part", len(content), patience, lambda done: None)(
            lasting_server.entry("c")["links"]["self"], str(output), None
        )
        assert output.read_bytes() == content
    starts = [int(header[6:-1]) if header else 0 for _, header in lasting_server.contents]
    arrived = np.minimum(np.cumsum([0, *cuts]), len(content))[: len(starts)]
    assert starts == list(arrived)
