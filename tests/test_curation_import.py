"""Importing what others made: every format, every way of naming columns, and every way a file can be wrong."""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import importers
from curation.cli import COMMANDS
from curation.commands import main
from curation.config import ImportSettings
from curation.errors import InputError
from curation.importers import Report, import_file
from curation.pool import processors
from curation.records import EXAMPLE, ORIGIN, Imported, Moderation, content_id
from curation.settings import load
from curation.store import Store

GOOD = {"text": "The laksa queue moved fast today.", "language": "en", "label": "allowed"}
BAD = {"text": "Sack them all.", "language": "en", "label": "disallowed", "category": "race", "severity": 2}
HELLO = [
    {"role": "user", "content": "Where is my parcel?"},
    {"role": "assistant", "content": "It left the depot today."},
]


def words(path: Path, *more: str) -> ImportSettings:
    return load(ImportSettings, [f"path={path}", f"workspace={path.parent / 'workspace'}", *more], environ={})


def take(path: Path, *more: str) -> Report:
    return import_file(words(path, *more))


def refused(path: Path, *more: str) -> str:
    """The message that refuses a file, which must be one line."""
    with pytest.raises(InputError) as caught:
        take(path, *more)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{path.parent}/", "")


@cache
def store(workspace: Path) -> Store:
    return Store(workspace)


def rows(path: Path, sql: str) -> list[Any]:
    return store(path.parent / "workspace").rows(sql)


def stored(path: Path) -> list[Any]:
    return [EXAMPLE.validate_json(body) for (body,) in rows(path, "SELECT body FROM examples ORDER BY content")]


def jsonl(folder: Path, *objects: object, name: str = "posts.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in objects), encoding="utf-8")
    return path


def raw(folder: Path, content: str | bytes, name: str = "posts.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def parquet(folder: Path, *objects: dict[str, Any], name: str = "posts.parquet") -> Path:
    pq.write_table(pa.Table.from_pylist(list(objects)), folder / name)
    return folder / name


# -- formats -----------------------------------------------------------------------------------------------------


def test_jsonl_becomes_examples_with_origins_and_verdicts(tmp_path: Path) -> None:
    path = jsonl(tmp_path, GOOD, BAD, {**GOOD, "text": "Ring me at 9123 4567 about the flat."})
    report = take(path)
    assert (report.rows, report.new, report.there, report.repeated, report.bad) == (3, 3, 0, 0, {})
    assert report.statuses == {"passed": 2, "flagged": 1}
    assert report.findings == {("pii", "flag"): 1}
    assert [example.text for example in stored(path)] == [
        "Ring me at 9123 4567 about the flat.", "Sack them all.", "The laksa queue moved fast today.",
    ]  # fmt: skip
    assert rows(path, "SELECT status, count(*) FROM status GROUP BY 1 ORDER BY 1") == [("flagged", 1), ("passed", 2)]
    example, body = rows(path, "SELECT example, body FROM origins ORDER BY body")[1]
    origin = ORIGIN.validate_json(body)
    assert origin == Imported(path=str(path), row=2, sha256=report.sha256)
    assert example == Moderation.model_validate(BAD).id


def test_again_adds_nothing(tmp_path: Path) -> None:
    path = jsonl(tmp_path, GOOD, BAD)
    take(path)
    everything = (
        "SELECT id FROM examples UNION ALL SELECT id FROM origins UNION ALL SELECT id FROM verdicts ORDER BY id"
    )
    before = rows(path, everything)
    report = take(path)
    assert (report.new, report.there) == (0, 2)
    assert rows(path, everything) == before


def test_a_repeated_row_is_one_example_with_two_origins(tmp_path: Path) -> None:
    path = jsonl(tmp_path, GOOD, BAD, GOOD)
    report = take(path)
    assert (report.rows, report.new, report.repeated) == (3, 2, 1)
    assert rows(path, "SELECT count(*) FROM origins") == [(3,)]
    assert rows(path, "SELECT count(*) FROM verdicts") == [(2,)]


def test_an_imported_example_has_the_id_it_would_have_anywhere(tmp_path: Path) -> None:
    path = jsonl(tmp_path, GOOD)
    take(path)
    [(identity,)] = rows(path, "SELECT id FROM examples")
    assert identity == content_id("ex", {"task": "moderation", **GOOD})


def test_the_same_rows_give_the_same_examples_in_every_format(tmp_path: Path) -> None:
    columns = ["text", "language", "label", "category", "severity"]
    objects = [{name: item.get(name) for name in columns} for item in (GOOD, BAD)]
    with (tmp_path / "posts.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(objects)
    (tmp_path / "posts.tsv").write_text("text\tlanguage\tlabel\nThe laksa queue moved fast today.\ten\tallowed\n")
    first = take(jsonl(tmp_path, *objects))
    assert first.new == 2
    for path in (tmp_path / "posts.csv", parquet(tmp_path, *objects), tmp_path / "posts.tsv"):
        assert take(path).new == 0, path


@pytest.mark.parametrize("shape", ["disk", "splits", "parquet", "readme"])
def test_dataset_folders(tmp_path: Path, shape: str) -> None:
    folder = tmp_path / "set"
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "lang": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["ok", "not ok"]),
        }
    )
    data = datasets.Dataset.from_dict(
        {"text": [GOOD["text"], BAD["text"]], "lang": ["en", "en"], "label": [0, 1]}, features=features
    )
    more = ["values.label.ok=allowed", "values.label.not ok=disallowed"]
    if shape == "disk":
        data.save_to_disk(str(folder))
    elif shape == "splits":
        datasets.DatasetDict({"train": data, "test": data.select([0])}).save_to_disk(str(folder))
    elif shape == "parquet":
        (folder / "data").mkdir(parents=True)
        data.to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
    else:
        (folder / "parts").mkdir(parents=True)
        jsonl(folder / "parts", {**GOOD, "label": "ok"}, {**BAD, "label": "not ok"}, name="one.jsonl")
        (folder / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: parts/one.jsonl\n---\n")
    report = take(folder, *more)
    assert (report.rows, report.new) == (3 if shape == "splits" else 2, 2)
    assert [example.label for example in stored(folder)] == ["disallowed", "allowed"]
    origins = [Imported.model_validate_json(body) for (body,) in rows(folder, "SELECT body FROM origins ORDER BY body")]
    if shape == "splits":
        assert [(origin.path, origin.row) for origin in origins] == [
            (f"{folder}/test", 1), (f"{folder}/train", 1), (f"{folder}/train", 2),
        ]  # fmt: skip
        assert take(folder, *more, "split=test").rows == 1
        with pytest.raises(InputError, match=r"no split 'tset'\. Did you mean 'test'"):
            take(folder, *more, "split=tset")
    assert not list((tmp_path / "workspace").glob(".import-*"))


def test_dialogues_from_lists_and_from_json_text(tmp_path: Path) -> None:
    extra = [{**HELLO[0], "weight": 1, "name": None}, HELLO[1]]
    path = jsonl(tmp_path, {"messages": extra, "language": "en", "scenario": "parcel"})
    assert take(path, "task=dialogue").new == 1
    cells = json.dumps(HELLO).replace('"', '""')
    table = raw(tmp_path, f'turns,lang,scenario\n"{cells}",en,parcel\n')
    assert take(table, "task=dialogue").there == 1
    shared = [{"from": "human", "value": HELLO[0]["content"]}, {"from": "gpt", "value": HELLO[1]["content"]}]
    other = jsonl(tmp_path, {"conversations": shared, "language": "en", "category": "parcel"}, name="shared.jsonl")
    message = "values.role.human=user values.role.gpt=assistant"
    with pytest.raises(InputError, match="a turn's role is not one of system, user, assistant, tool, but 'human'"):
        take(other, "task=dialogue")
    assert take(other, "task=dialogue", *message.split()).there == 1
    assert stored(path)[0].turns[1].role == "assistant"
    assert (
        take(parquet(tmp_path, {"messages": HELLO, "language": "en", "scenario": "parcel"}), "task=dialogue").there == 1
    )


def test_the_other_tasks(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"prompt": "Say hi.", "chosen": "Hi!", "rejected": "No.", "language": "en"})
    assert take(path, "task=preference").new == 1
    safety = {"prompt": "How do I boil an egg?", "response": "Ten minutes.", "behaviour": "comply", "language": "en"}
    assert take(jsonl(tmp_path, safety), "task=safety").new == 1
    qa = {"question": "When?", "answer": "At nine.", "cites": ["step 1"], "language": "en"}
    assert take(jsonl(tmp_path, qa), "task=qa").new == 1
    qa_csv = raw(tmp_path, 'question,answer,language,cites\nWhen?,At nine.,en,"[""step 1""]"\n')
    assert take(qa_csv, "task=qa").there == 1


# -- columns, values, constants ------------------------------------------------------------------------------------


def test_usual_names_are_understood_and_the_rest_is_named(tmp_path: Path) -> None:
    path = raw(tmp_path, "id,Comment,LANG,label,note\n7,The laksa queue moved fast today.,en,allowed,x\n")
    report = take(path)
    assert report.new == 1
    assert report.unused == ["id", "note"]
    assert report.columns == {"language": "LANG", "text": "Comment", "label": "label"}


def test_columns_values_and_constants(tmp_path: Path) -> None:
    path = raw(
        tmp_path, "content,message,is_bad\nnot this,The laksa queue moved fast today.,0\nnor this,Sack them all.,1\n"
    )
    report = take(
        path, "columns.text=message", "columns.label=is_bad", "values.label.0=allowed", "values.label.1=disallowed",
        "constants.language=en", "constants.severity=0",
    )  # fmt: skip
    assert report.new == 2
    assert [example.label for example in stored(path)] == ["disallowed", "allowed"]
    assert "content" in report.unused


@pytest.mark.parametrize(
    ("given", "setting"),
    [(1, "values.label.1"), (1.0, "values.label.1"), (True, "values.label.true"), (0.5, "values.label[0.5]"),
     ("not ok", "values.label.not ok"), (None, "values.label."), ("不良", "values.label.不良")],
)  # fmt: skip
def test_values_of_every_kind_can_be_given_a_meaning(tmp_path: Path, given: object, setting: str) -> None:
    path = jsonl(tmp_path, {**GOOD, "label": given})
    assert take(path, f"{setting}=disallowed").new == 1
    assert stored(path)[0].label == "disallowed"


def test_a_column_that_only_later_rows_have_is_read(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *[{**GOOD, "text": f"Post number {n} of the morning."} for n in range(1100)], BAD)
    assert take(path).new == 1101
    assert rows(path, "SELECT category, severity FROM examples WHERE label = 'disallowed'") == [("race", 2)]


def test_empty_cells_are_fields_left_out(tmp_path: Path) -> None:
    path = raw(
        tmp_path, "text,language,label,category,severity,title\nThe laksa queue moved fast today.,en,allowed,,,\n"
    )
    take(path)
    assert stored(path) == [Moderation.model_validate(GOOD)]


def test_nulls_and_not_a_numbers_are_fields_left_out(tmp_path: Path) -> None:
    path = parquet(tmp_path, {**GOOD, "severity": float("nan"), "category": None}, {**BAD, "severity": 2.0})
    take(path)
    assert stored(path) == [Moderation.model_validate(BAD), Moderation.model_validate(GOOD)]


def test_limit_reads_only_so_many(tmp_path: Path) -> None:
    posts = [{**GOOD, "text": f"Post number {n} of the morning."} for n in range(9)]
    path = jsonl(tmp_path, *posts[:4])
    path.write_text("\n" + path.read_text().replace("\n", "\n\n") + "broken")
    assert take(path, "limit=3").rows == 3
    assert take(parquet(tmp_path, *posts), "limit=3").rows == 3
    lines = "".join(f"Post number {n} of the morning.,en,allowed\n" for n in range(9))
    assert take(raw(tmp_path, "text,language,label\n" + lines), "limit=3").there == 3


# -- what text files may look like ---------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_and_line_ends(tmp_path: Path, encoding: str, end: str) -> None:
    said = () if encoding.startswith("utf-8") else (f"encoding={encoding}",)
    line = json.dumps({**GOOD, "text": "今天的巴士又迟到了。", "language": "zh"}, ensure_ascii=False)
    assert take(raw(tmp_path, (line + end).encode(encoding), "posts.jsonl"), *said).new == 1
    table = f"text,language,label{end}今天的巴士又迟到了。,zh,allowed{end}"
    assert take(raw(tmp_path, table.encode(encoding)), *said).there == 1


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_delimiters_are_found(tmp_path: Path, delimiter: str) -> None:
    lines = [["text", "language", "label"], ["The laksa queue moved fast today.", "en", "allowed"]]
    assert take(raw(tmp_path, "\n".join(map(delimiter.join, lines)))).new == 1


def test_rows_are_counted_as_an_editor_counts_lines(tmp_path: Path) -> None:
    path = raw(
        tmp_path,
        'text,language,label\n"Two lines\nof text here",en,allowed\n\nThe laksa queue moved fast today.,en,allowed\n',
    )
    take(path)
    numbers = [Imported.model_validate_json(body).row for (body,) in rows(path, "SELECT body FROM origins")]
    assert sorted(numbers) == [2, 5]
    lines = jsonl(tmp_path, GOOD).read_text()
    path = raw(tmp_path, "\n  \n" + lines.replace("laksa", "\u2028laksa") + "{}\n", "other.jsonl")
    assert take(path, "skip_bad=true").bad["language is missing"].rows == [4]


def test_texts_with_quotes_commas_and_long_ones(tmp_path: Path) -> None:
    text = 'He said "wait, what?" and left.\n' + "kopi " * 60_000
    with (tmp_path / "posts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "language", "label"], [text, "en", "allowed"]])
    take(tmp_path / "posts.csv")
    assert stored(tmp_path / "posts.csv")[0].text == text


# -- what is wrong with a file -------------------------------------------------------------------------------------


def test_no_such_file(tmp_path: Path) -> None:
    jsonl(tmp_path, GOOD)
    assert refused(tmp_path / "post.jsonl") == "post.jsonl: no such file or folder. Did you mean 'posts.jsonl'?"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", "", "a.jsonl: the file is empty"),
        ("a.csv", "", "a.csv: the file is empty"),
        ("a.parquet", "", "a.parquet: the file is empty"),
        ("a.csv", "\n", "a.csv: the first line names no columns"),
        ("a.csv", "text,language,label\n", "a.csv: it has no rows, only a header"),
        ("a.jsonl", "\n\n", "a.jsonl: there are only blank lines in it"),
        ("a.json", "[]", "a.json: .json is not one of .jsonl, .ndjson, .csv, .tsv, .parquet; write one object a line"),
        ("a.xlsx", "PK", "save the sheet as CSV UTF-8"),
        ("a.jsonl.gz", "x", "a.jsonl.gz: .gz is not one of .jsonl, .ndjson, .csv, .tsv, .parquet; unpack it first"),
        ("a", "x", "a: no suffix is not one of .jsonl"),
        ("a.parquet", "PAR1 and no more", "a.parquet: damaged, or no Parquet file: "),
        ("a.jsonl", '[{"text": "x"}]', "a.jsonl:1: not a JSON object (a list); write one object a line: `jq -c '.[]' a.jsonl`"),
        ("a.csv", "text,label,text,language\n1,2,3,4\n", "a.csv:1: two columns are called 'text' (columns 1, 3); rename one of them"),
        ("a.csv", 'text,language,label\n"open,en,allowed\nb,en,allowed\n', "a.csv:2: a quote that opens here is never closed"),
        ("a.csv", 'text,language,label\n"b"c,en,allowed\n', "a.csv:2: broken CSV: ',' expected after '\"'"),
        ("a.csv", "text,language,label\nb,en,allowed\na,b,en,allowed\n", "a.csv:3: another number of cells than the header: 4 here, 3 in the header"),
        ("a.csv", "text,language,label\nb\0,en,allowed\n", "a.csv:2: a NUL character; the file is damaged"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: str, said: str) -> None:
    assert said in refused(raw(tmp_path, content, name))


def test_tables_without_rows_and_cut_off(tmp_path: Path) -> None:
    schema = pa.schema([(name, pa.string()) for name in ("text", "language", "label")])
    pq.write_table(schema.empty_table(), tmp_path / "none.parquet")
    assert refused(tmp_path / "none.parquet") == "none.parquet: it has no rows, only columns"
    path = parquet(tmp_path, GOOD)
    path.write_bytes(path.read_bytes()[:-20])
    assert "posts.parquet: damaged, or no Parquet file: " in refused(path)
    path = parquet(tmp_path, *[{**GOOD, "text": os.urandom(500).hex()} for _ in range(200)])
    content = bytearray(path.read_bytes())
    content[2000:60_000] = os.urandom(58_000)
    path.write_bytes(content)
    assert "posts.parquet" in refused(path)
    data = datasets.Dataset.from_dict({"text": [], "language": [], "label": []})
    data.save_to_disk(str(tmp_path / "set"))
    assert "set: `datasets` cannot load this folder: " in refused(tmp_path / "set")


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert refused(tmp_path / "set") == "set: no dataset in this folder: it is empty"
    (tmp_path / "set" / "a.txt").write_text("x")
    assert "set: no dataset in this folder: neither" in refused(tmp_path / "set")
    (tmp_path / "set" / "state.json").write_text("{}")
    (tmp_path / "set" / "data.arrow").write_text("{}")
    assert "set: `datasets` cannot load this folder" in refused(tmp_path / "set")


def test_a_split_of_a_file_is_refused(tmp_path: Path) -> None:
    assert "split=test: posts.jsonl is one file" in refused(jsonl(tmp_path, GOOD), "split=test")


@pytest.fixture
def unreadable() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        path = jsonl(folder, GOOD)
        path.chmod(0)
        root = os.geteuid() == 0
        if root:  # root reads everything
            os.seteuid(65534)
        try:
            yield path
        finally:
            if root:
                os.seteuid(0)


def test_permissions(unreadable: Path) -> None:
    with pytest.raises(InputError, match=r"posts.jsonl: may not be read; `chmod \+r "):
        take(unreadable)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "posts.jsonl")
    assert "posts.jsonl: not a file (a pipe, a device?)" in refused(tmp_path / "posts.jsonl")


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [
        ("Café déjà vu à Orchard", "cp1252", "posts.csv:3: byte {at} (0xE9) is not utf-8; try encoding=cp1252"),
        ("今天的巴士又迟到了，气死人。", "gb18030", "posts.csv:3: byte {at} (0xBD) is not utf-8; try encoding=gb18030"),
        ("今天的巴士", "utf-16", "posts.csv:1: byte 0 (0xFF) is not utf-8; try encoding=utf-16"),
        ("plain", "utf-16-le", "posts.csv:1: a NUL character; is it UTF-16? Then say encoding=utf-16"),
    ],
)
@pytest.mark.parametrize("far", [0, 1 << 20])
def test_the_wrong_encoding_is_named_with_byte_and_line(
    tmp_path: Path, text: str, encoding: str, said: str, far: int
) -> None:
    head = f"text,language,label\nplain {'x' * far},en,allowed\n"
    content = f"{head}{text},en,allowed\n".encode(encoding)
    path = raw(tmp_path, content)
    at = next((at for at, byte in enumerate(content) if byte > 127), 0)
    message = refused(path)
    assert said.format(at=f"{at:,}") in message
    if far == 0:
        assert take(path, f"encoding={encoding}").rows == 2


def test_a_file_cut_off_in_a_character(tmp_path: Path) -> None:
    line = json.dumps({**GOOD, "text": "今天的巴士"}, ensure_ascii=False).encode()
    cut = line[: line.index("士".encode()) + 1]
    assert "posts.jsonl:1: byte" in refused(raw(tmp_path, cut, "posts.jsonl"))


def test_an_encoding_that_does_not_exist(tmp_path: Path) -> None:
    path = raw(tmp_path, "text,language,label\n")
    for encoding in ("utf-9", "hex"):
        assert f"encoding={encoding}: no text encoding is called so" in refused(path, f"encoding={encoding}")


# -- what is wrong with columns and values -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["columns.txt=body"], "columns.txt: moderation has no field 'txt'. Did you mean 'text'?"),
        (["values.lable.1=allowed"], "values.lable: moderation has no field 'lable'. Did you mean 'label'?"),
        (["constants.images=x"], "constants.images: moderation has no field 'images'."),
        (["columns.text=txet"], "columns.text=txet: no column 'txet' in posts.csv. Did you mean 'text'?"),
        (["columns.label=label", "constants.label=allowed"], "columns.label and constants.label contradict each other"),
        (["constants.label=fine"], "constants.label: 'fine' is not one of allowed, disallowed"),
        (["constants.severity=9"], "constants.severity: '9' is not a number from 0 to 3"),
        (["values.label.1=fine"], "values.label.1: 'fine' is not one of allowed, disallowed"),
        (["constants.language=Klingon"], "constants.language: 'Klingon' is not a language code such as en or zh-Hans"),
        (["task=dialogue", "constants.turns=x"], "constants.turns: a list of turns cannot be written here"),
    ],
)
def test_settings_that_fit_no_field(tmp_path: Path, more: list[str], said: str) -> None:
    path = raw(tmp_path, "text,language,label\nThe laksa queue moved fast today.,en,allowed\n")
    assert said in refused(path, *more)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("texts,language,label", "no column holds the text (columns: texts, language, label); did you mean columns.text=texts"),
        ("post_body,language,label", "did you mean columns.text=post_body"),
        ("a,b,c", "no column holds the language (columns: a, b, c); name one with columns.language=COLUMN, or say constants.language=en for all rows"),
        ("text,language,is_bad", "no column holds the label (columns: text, language, is_bad); name one with columns.label=COLUMN, or say constants.label=allowed|disallowed for all rows"),
        ("content,body,lang", "text may be 'content' or 'body'; say which, e.g. columns.text=content"),
    ],
)  # fmt: skip
def test_columns_that_are_missing(tmp_path: Path, header: str, said: str) -> None:
    assert said in refused(raw(tmp_path, header + "\n1,en,allowed\n"))


def test_a_column_that_no_row_has(tmp_path: Path) -> None:
    assert "columns.title=tilte: no column 'tilte'" in refused(jsonl(tmp_path, GOOD), "columns.title=tilte")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("label", 1, "label is not one of allowed, disallowed, but '1' (1); say what it means, e.g. values.label.1=disallowed"),
        ("label", "Safe", "but 'Safe' (1); say what it means, e.g. values.label.Safe=allowed"),
        ("label", "Allowed", "values.label.Allowed=allowed"),
        ("label", "hm hm", "'values.label.hm hm=allowed|disallowed'"),
        ("label", 0.5, "'values.label[0.5]=allowed|disallowed'"),
        ("category", "Hate Speech", "category is not a name such as hate_speech (small letters, digits and _), but 'Hate Speech' (1)"),
        ("category", "Hate Speech", "'values.category.Hate Speech=hate_speech'"),
        ("language", "English", "language is not a language code such as en or zh-Hans, but 'English' (1); say what it means, e.g. values.language.English=en"),
        ("severity", "high", "severity is not a number from 0 to 3, but 'high' (1); say what it means, e.g. values.severity.high=3"),
        ("severity", 4, "severity is not a number from 0 to 3, but '4' (1)"),
        ("text", 12, "posts.jsonl:3: text should be a valid string: 12; correct it, or leave bad rows out with skip_bad=true"),
        ("text", ["a"], 'text should be a valid string: ["a"]'),
        ("text", "", "posts.jsonl:3: text is empty; correct it"),
        ("text", None, "posts.jsonl:3: text is missing; correct it"),
        ("text", "\ud800", "posts.jsonl:3: text has half of a surrogate pair"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_are_named_with_their_row(tmp_path: Path, field: str, value: object, said: str) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (GOOD, BAD, {**GOOD, field: value})))
    message = refused(path)
    assert message.startswith("posts.jsonl:3: ")
    assert said in message


def test_the_found_labels_are_counted_and_given_likely_meanings(tmp_path: Path) -> None:
    path = raw(tmp_path, "text,language,y\n" + "".join(f"Post {n} of today.,en,{n % 3 == 0:d}\n" for n in range(9)))
    assert refused(path, "columns.label=y") == (
        "posts.csv:2: label is not one of allowed, disallowed, but '0' (6), '1' (3); say what they mean, e.g. "
        "values.label.0=allowed values.label.1=disallowed"
    )


def test_a_column_of_prose_is_no_label(tmp_path: Path) -> None:
    path = raw(tmp_path, "text,language,label\n" + "".join(f"Post {n} of today.,en,opinion {n}\n" for n in range(50)))
    message = refused(path)
    assert "and many more: name the right one with columns.label=" in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "a" "b"}', "posts.jsonl:7: broken JSON: column 14: Expecting ',' delimiter; correct it"),
        ('{"text": "a', "posts.jsonl:7: broken JSON: column 10: Unterminated string"),
        ("[1, 2]", "posts.jsonl:7: not a JSON object: a list"),
        ('"text"', "posts.jsonl:7: not a JSON object: a str"),
        ("[" * 100_000, "posts.jsonl:7: broken JSON"),
        ("1" * 5_000, "posts.jsonl:7: broken JSON"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = jsonl(tmp_path, *[{**GOOD, "text": f"Post number {n} of the morning."} for n in range(6)])
    path.write_text(path.read_text() + line + "\n" + json.dumps(BAD) + "\n")
    assert said in refused(path)
    assert take(path, "skip_bad=true").new == 7


def test_rows_of_tables_are_named_too(tmp_path: Path) -> None:
    path = parquet(tmp_path, GOOD, {**GOOD, "label": "ok"})
    assert refused(path).startswith("posts.parquet, row 2: label is not one of allowed, disallowed, but 'ok' (1)")


def test_broken_turns(tmp_path: Path) -> None:
    for turns, said in (
        ("hello", "turns: neither a list nor the JSON text of one: hello"),
        ([{"role": "user"}], "a turn's content is missing"),
        ([{"role": "user", "content": 5}], "a turn's content should be a valid string: 5"),
        (["hello"], "turn should be a valid dictionary or instance of Turn: hello"),
        ([], "turns is empty"),
        ({"role": "user"}, "turns should be a valid tuple"),
    ):
        assert said.lower() in refused(jsonl(tmp_path, {"turns": turns, "language": "en"}), "task=dialogue").lower()


# -- good rows and bad ones ------------------------------------------------------------------------------------------


def test_nothing_is_half_imported(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path, *[{**GOOD, "text": f"Post number {n} of the morning."} for n in range(25_000)], {"text": "x"}
    )
    assert refused(path).startswith("posts.jsonl:25001: language is missing")


def test_skip_bad_takes_the_good_rows_and_lists_the_bad(tmp_path: Path) -> None:
    path = jsonl(tmp_path, GOOD, {**GOOD, "label": "hm"}, BAD, {**GOOD, "label": "hm"}, {**GOOD, "text": 5})
    report = take(path, "skip_bad=true")
    assert (report.rows, report.new, report.bad_rows) == (5, 2, 3)
    assert {reason: (bad.rows, dict(bad.values)) for reason, bad in report.bad.items()} == {
        "label is not one of allowed, disallowed": ([2, 4], {"hm": 2}),
        "text should be a valid string": ([5], {"5": 1}),
    }


def test_skip_bad_does_not_swallow_a_whole_file(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {**GOOD, "label": 0}, {**GOOD, "label": 1})
    assert "values.label.0=allowed values.label.1=disallowed" in refused(path, "skip_bad=true")
    assert stored(path) == []
    path = jsonl(tmp_path, {**GOOD, "text": 0}, {**GOOD, "text": 1})
    assert refused(path, "skip_bad=true") == "posts.jsonl:1: text should be a valid string: 0; so are all 2 rows"


def test_what_the_checks_drop_is_stored_and_counted(tmp_path: Path) -> None:
    path = jsonl(tmp_path, GOOD, {**GOOD, "text": "Hello {{ name }}, welcome to the block party."})
    report = take(path)
    assert report.statuses == {"passed": 1, "dropped": 1}
    assert rows(path, "SELECT count(*) FROM examples") == [(2,)]


# -- many rows -------------------------------------------------------------------------------------------------------


def test_several_processes_come_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    posts = [{**GOOD, "text": f"Post number {n} of the morning."} for n in range(3000)]
    path = jsonl(tmp_path, *posts, {"text": 5}, BAD)
    told: list[int] = []
    import_file(words(path, "skip_bad=true"), told.append)
    assert told == [3002]
    monkeypatch.setattr(importers, "POOL_ROWS", 100)
    monkeypatch.setattr(importers, "processors", lambda: 2)
    monkeypatch.setattr("curation.sources.CHUNK_CHARS", 50_000)
    report = import_file(words(path, "skip_bad=true"), told.append)
    assert len(told) > 4
    assert (report.rows, report.new, report.there, report.bad_rows) == (3002, 0, 3001, 1)
    assert rows(path, "SELECT count(*) FROM origins") == rows(path, "SELECT count(*) FROM verdicts") == [(3001,)]
    with pytest.raises(InputError, match=r"other.jsonl:3001: text should be a valid string: 5"):
        take(jsonl(tmp_path, *posts, {**GOOD, "text": 5}, name="other.jsonl"))
    assert rows(path, "SELECT count(*) FROM origins") == [(3001,)]


def test_a_large_import_goes_in_by_several_transactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.staging.TRANSACTION_ROWS", 1_000)
    monkeypatch.setattr("curation.staging.INSERT_ROWS", 400)
    monkeypatch.setattr("curation.sources.CHUNK_ROWS", 150)
    path = parquet(tmp_path, *[{**GOOD, "text": f"Post number {n % 2000} of the morning."} for n in range(2500)])
    report = take(path)
    assert (report.new, report.repeated) == (2000, 500)
    assert rows(path, "SELECT count(*) FROM origins") == [(2500,)]


# -- the command -----------------------------------------------------------------------------------------------------


def curate(*argv: str) -> int:
    return main("curate", "", COMMANDS, list(argv))


def test_the_command_says_what_came_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noisy = {**GOOD, "text": "Ring me at 9123 4567 about the flat.", "extra": 1}
    path = jsonl(tmp_path, GOOD, noisy, {**GOOD, "label": "hm"})
    assert curate("import", str(path), f"workspace={tmp_path / 'w'}", "skip_bad=true") == 0
    shown = capsys.readouterr().out
    assert f"{path}: moderation from language, text, label\nColumns not used: extra\n" in shown
    assert "3 rows: 2 new examples, 0 were there already, 1 bad and left out" in shown
    assert "pii" in shown
    assert "label is not one of allowed, disallowed" in shown
    assert f"Next:  curate ls status=flagged workspace={tmp_path / 'w'}" in shown


def test_the_command_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(tmp_path, GOOD, {**GOOD, "label": "hm"})
    assert curate("import", str(path), f"workspace={tmp_path / 'w'}", "skip_bad=true", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["rows"], shown["new"], shown["bad_rows"]) == (2, 1, 1)
    assert shown["bad"] == [{"reason": "label is not one of allowed, disallowed", "rows": [2], "values": {"hm": 1}}]
    assert shown["statuses"] == {"passed": 1}


def test_a_wrong_file_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(tmp_path, GOOD, {**GOOD, "label": "hm"})
    assert curate("import", str(path), f"workspace={tmp_path / 'w'}") == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1


@pytest.mark.skipif(processors() < 2 or not Path("/proc").is_dir(), reason="no workers, or no /proc to see them")
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    posts = [{**GOOD, "text": f"Post number {n} of the morning."} for n in range(60_000)]
    path = jsonl(tmp_path, *posts)
    command = [
        sys.executable,
        "-c",
        "from curation.cli import app; app()",
        "import",
        str(path),
        f"workspace={tmp_path / 'w'}",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers: list[str] = []
    while process.poll() is None and len(workers) < 3:  # two and multiprocessing's resource tracker
        time.sleep(0.05)
        workers = children.read_text().split()
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []
    assert Store(tmp_path / "w").rows("SELECT count(*) FROM examples") == [(0,)]
    assert [name for name in os.listdir(tmp_path / "w") if "import" in name] == []
