import json

import pytest

from gan3d.data.zenodo import PUBLIC_DATA_SETS, RemoteFile, parse_record
from gan3d.errors import DataError

MD5 = "0cc175b9c0f1b6a831c399e269772661"


def entry(**changes):
    links = {"self": "https://zenodo.org/api/records/7/files/a.h5/content"}
    return {"key": "a.h5", "size": 3, "checksum": f"md5:{MD5}", "links": links, **changes}


def parse(*entries):
    return parse_record(json.dumps({"id": 7, "files": list(entries)}), "record 7")


def test_a_record_with_keys_and_links():
    assert parse(entry()) == (
        RemoteFile("a.h5", 3, f"md5:{MD5}", "https://zenodo.org/api/records/7/files/a.h5/content"),
    )


def test_a_record_with_file_names():
    listed = {"filename": "a b.h5", "filesize": 3, "checksum": MD5}
    assert parse(listed) == (
        RemoteFile(
            "a b.h5", 3, f"md5:{MD5}", "https://zenodo.org/records/7/files/a%20b.h5?download=1"
        ),
    )


@pytest.mark.parametrize(
    "name",
    ["../a.h5", "/etc/a.h5", "b/a.h5", "b\\a.h5", "..", ".", ".a.h5", "", "a\0.h5", "a\n.h5"],
)
def test_a_name_that_could_lead_out_of_the_folder_is_refused(name):
    with pytest.raises(DataError, match=r"lists a file named .*: refused"):
        parse(entry(), entry(key=name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checksum": MD5}, "checksum of a.h5 is '0cc1"),
        ({"checksum": "md5:xyz"}, "checksum of a.h5 is 'md5:xyz'"),
        ({"checksum": "crc:12"}, "checksum of a.h5 is 'crc:12'"),
        ({"size": -1}, "has -1 bytes"),
        ({"links": {"self": "file:///etc/passwd"}}, "not one of HTTP: file:///etc/passwd"),
        ({"links": {}}, "is no Zenodo record"),
        ({"size": "many"}, "is no Zenodo record"),
    ],
)
def test_an_entry_that_cannot_be_fetched_or_verified_is_refused(change, message):
    with pytest.raises(DataError, match=f"record 7: .*{message}"):
        parse(entry(**change))


@pytest.mark.parametrize("text", ["<html>", "[]", "{}", '{"files": 3}', '{"files": ["a"]}'])
def test_something_else_than_a_record_is_refused(text):
    with pytest.raises(DataError, match="record 7: is no Zenodo record"):
        parse_record(text, "record 7")


def test_a_record_without_files_is_refused():
    with pytest.raises(DataError, match="lists no files; it may be restricted"):
        parse()


def test_a_record_that_lists_a_name_twice_is_refused():
    with pytest.raises(DataError, match=r"lists 'a\.h5' twice"):
        parse(entry(), entry())


def test_the_records_of_the_public_data_sets():
    assert {name: each.record for name, each in PUBLIC_DATA_SETS.items()} == {
        "lcd-electrons": 3603086,
        "calochallenge-1": 8099322,
        "calochallenge-2": 6366270,
        "calochallenge-3": 6366323,
    }
