import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from gan3d.config import Data, Geometry
from gan3d.data import Survey, check_unchanged, leave_out, open_for, survey_files
from gan3d.errors import DataError


@pytest.fixture
def section(tmp_path):
    def make(files="*.h5", **changes):
        settings = {"geometry": Geometry(shape=(3, 4, 5))} | changes
        return Data(files=[str(tmp_path / files)], **settings)

    return make


def test_files_are_found_in_order_with_what_they_hold(lcd_file, section):
    paths = [lcd_file(f"{n}.h5", count, first=10 * n) for n, count in enumerate((4, 2))]
    found = survey_files(section())
    assert [entry.path for entry in found.files] == paths
    assert [entry.showers for entry in found.files] == [4, 2]
    assert [entry.size_bytes for entry in found.files] == [path.stat().st_size for path in paths]
    assert [entry.energy_sum_gev for entry in found.files] == [1 + 2 + 3 + 4, 11 + 12]
    assert found.validation_files is None
    assert not found.skipped


def test_a_survey_survives_json(lcd_file, section, tmp_path):
    for name in ("a.h5", "b.h5"):
        lcd_file(name)
    (tmp_path / "c.h5").write_text("no HDF5")
    data = section("[ac].h5", validation_files=[str(tmp_path / "b.h5")], on_bad_file="skip")
    found = survey_files(data)
    assert found.validation_files
    assert Survey.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_a_file_cannot_be_trained_on_and_held_out(lcd_file, section, tmp_path):
    lcd_file("1.h5")
    with pytest.raises(DataError, match=r"1\.h5: named both in data.files and in data.validation"):
        survey_files(section(validation_files=[str(tmp_path / "1.h5")]))
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "2.h5").symlink_to(tmp_path / "1.h5")
    with pytest.raises(DataError, match=r"2\.h5: named both in data.files and in data.validation"):
        survey_files(section(validation_files=[str(tmp_path / "held" / "*.h5")]))


def test_a_bad_file_is_an_error_or_is_skipped_as_the_config_says(lcd_file, section):
    good = lcd_file("good.h5")
    other = lcd_file("other.h5", shape=(2, 2, 2))
    message = r"other\.h5: images have 2×2×2 cells, expected 3×4×5"
    with pytest.raises(DataError, match=message):
        survey_files(section())
    found = survey_files(section(on_bad_file="skip"))
    assert [entry.path for entry in found.files] == [good]
    assert [skipped.path for skipped in found.skipped] == [other]
    assert "images have 2×2×2 cells" in found.skipped[0].reason
    good.unlink()
    with pytest.raises(DataError, match=f"data.files: none of 1 files can be used; .*{message}"):
        survey_files(section(on_bad_file="skip"))


def test_a_run_goes_on_with_the_same_files_wherever_they_are(lcd_file, section, tmp_path):
    path = lcd_file("a.h5", 4)
    found = survey_files(section())
    check_unchanged(found, section())
    (tmp_path / "elsewhere").mkdir()
    shutil.move(path, tmp_path / "elsewhere" / "a.h5")
    check_unchanged(found, section("elsewhere/*.h5"))


def test_other_showers_under_the_same_name_are_noticed(lcd_file, section):
    path = lcd_file("a.h5", 4)
    found, size = survey_files(section()), path.stat().st_size
    lcd_file("a.h5", 4, first=1)
    assert path.stat().st_size == size
    with pytest.raises(DataError, match=r"a\.h5: the run began with other training showers: a\.h5"):
        check_unchanged(found, section())
    lcd_file("a.h5", 5)
    with pytest.raises(DataError, match=r"with 4 showers .* now a\.h5 with 5 showers"):
        check_unchanged(found, section())
    lcd_file("a.h5", 4)
    lcd_file("b.h5", 4)
    with pytest.raises(DataError, match=r"data\.files: .* began with 1 files, now there are 2"):
        check_unchanged(found, section())


def test_a_file_that_went_bad_may_be_skipped_but_not_replaced(lcd_file, section, tmp_path):
    for name in ("a.h5", "b.h5", "c.h5"):
        lcd_file(name, 4)
    data = section(on_bad_file="skip")
    found = survey_files(data)
    (tmp_path / "a.h5").unlink()
    (tmp_path / "b.h5").write_text("no HDF5")
    lcd_file("d.h5", 4)
    check_unchanged(found, data)
    lcd_file("c.h5", 4, first=1)
    with pytest.raises(DataError, match=r"c\.h5: the run began with other training showers"):
        check_unchanged(found, data)


def test_held_out_files_must_be_the_same_too(lcd_file, section, tmp_path):
    lcd_file("a.h5")
    lcd_file("b.h5", 4)
    data = section("a.h5", validation_files=[str(tmp_path / "b.h5")])
    found = survey_files(data)
    check_unchanged(found, data)
    lcd_file("b.h5", 4, first=1)
    with pytest.raises(DataError, match=r"b\.h5: the run began with other"):
        check_unchanged(found, data)


def test_a_file_of_another_name_is_another_file(lcd_file, section, tmp_path):
    path = lcd_file("a.h5", 4)
    found = survey_files(section())
    path.rename(tmp_path / "b.h5")
    with pytest.raises(DataError, match=r"b\.h5: the run began with other .*: a\.h5 with 4"):
        check_unchanged(found, section())


def test_every_file_is_looked_at_before_anything_is_divided(lcd_file, section):
    lcd_file("a.h5")
    bad = lcd_file("z.h5")
    os.truncate(bad, bad.stat().st_size // 2)
    with pytest.raises(DataError, match=r"z\.h5: .*truncated"):
        survey_files(section())


def test_files_that_turn_out_bad_are_left_out(lcd_file, section):
    paths = [lcd_file(f"{n}.h5") for n in range(2)]
    found = survey_files(section())
    left = leave_out(found, {paths[0]: "0.h5: worn out"})
    assert [entry.path for entry in left.files] == paths[1:]
    assert [(each.path, each.reason) for each in left.skipped] == [(paths[0], "0.h5: worn out")]
    with pytest.raises(DataError, match=r"none of 2 files can be used; 0\.h5: worn out"):
        leave_out(found, dict.fromkeys(paths, "0.h5: worn out"))
    # What was left out before stays so.
    again = leave_out(survey_files(section()), {paths[1]: "1.h5: torn"})
    assert leave_out(again, {}).skipped == again.skipped


def test_held_out_files_that_turn_out_bad_are_left_out(lcd_file, section, tmp_path):
    lcd_file("train.h5")
    paths = [lcd_file(f"{n}.h5") for n in range(2)]
    found = survey_files(section("t*.h5", validation_files=[str(tmp_path / "[01].h5")]))
    left = leave_out(found, {paths[0]: "0.h5: worn out"})
    assert left.files == found.files
    assert [entry.path for entry in left.validation_files] == paths[1:]
    with pytest.raises(DataError, match=r"data\.validation_files: none of 2 files can be used; 0"):
        leave_out(found, dict.fromkeys(paths, "0.h5: worn out"))


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESTALE, errno.EIO])
def test_a_file_that_goes_while_it_is_looked_at_is_a_bad_one(
    lcd_file, section, monkeypatch, number
):
    paths = [lcd_file("a.h5"), lcd_file("b.h5")]
    stat = Path.stat

    def look(path, data, **options):
        def gone(each, **further):
            if path == each == paths[0]:
                raise OSError(number, os.strerror(number))
            return stat(each, **further)

        file = open_for(path, data, **options)
        monkeypatch.setattr(Path, "stat", gone)
        return file

    monkeypatch.setattr("gan3d.data.survey.open_for", look)
    found = survey_files(section(on_bad_file="skip"))
    assert [entry.path for entry in found.files] == paths[1:]
    assert found.skipped[0].reason == f"{paths[0]}: cannot be read: {os.strerror(number)}"
    with pytest.raises(DataError, match=r"a\.h5: cannot be read: "):
        survey_files(section())
