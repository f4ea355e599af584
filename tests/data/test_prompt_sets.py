"""The loader of instruction sets: what is read, in which order, and what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xltjax.common.errors import UserError
from xltjax.common.files import write_jsonl
from xltjax.data.prompt_sets import Instruction, load_set, shipped_sets

LANGUAGES = ("en", "fr", "pt", "ru", "de")


# The loader


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_languages_are_loaded_in_the_order_asked_for_and_once() -> None:
    items = load_set("xlt113", ["ru", "pt-BR", "ru"])
    assert [item.language for item in items] == ["ru"] * 113 + ["pt"] * 113


def test_without_languages_all_are_loaded() -> None:
    assert Counter(item.language for item in load_set("xlt113")) == dict.fromkeys(LANGUAGES, 113)
    assert load_set("xlt113", []) == load_set("xlt113")


def test_a_language_file_of_the_set_gives_the_same_instructions_as_the_set() -> None:
    assert load_set(shipped_sets()["xlt113"] / "ru.jsonl") == load_set("xlt113", ["ru"])


def test_what_is_exported_is_read_back(tmp_path: Path) -> None:
    items = load_set("xlt113", modifiers=True)
    write_jsonl(tmp_path / "all.jsonl", map(dataclasses.asdict, items))
    assert load_set(tmp_path / "all.jsonl") == items


@settings(max_examples=50, deadline=None)
@given(
    st.builds(
        Instruction,
        id=st.text(min_size=1),
        instruction_id=st.text(min_size=1),
        language=st.sampled_from(LANGUAGES),
        task=st.text(min_size=1),
        instruction=st.text(st.characters()),
        modifier=st.none() | st.just({"name": "list_n", "params": {"n": 3}}),
        human=st.booleans(),
    )
)
def test_any_text_survives_export_and_loading(item: Instruction) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_jsonl(Path(folder) / "one.jsonl", [dataclasses.asdict(item)])
        assert load_set(Path(folder) / "one.jsonl") == [item]


@pytest.mark.parametrize("name", ["prompts.json", "prompts.jsonl"])
def test_one_chat_is_one_instruction(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [user("Ça va ?"), {"role": "assistant", "content": "Oui."}])
    expected = Instruction("prompts-001-fr", "prompts-001", "fr", "", "Ça va ?")
    assert load_set(path, ["fr"]) == [expected]


def test_chats_one_a_line_in_a_list_or_under_messages_are_the_same(tmp_path: Path) -> None:
    chats = [[user("Un")], [user("Deux")]]
    lines = write(tmp_path / "a" / "set.fr.jsonl", "\n".join(map(json.dumps, chats)))
    listed = write(tmp_path / "b" / "set.fr.json", chats)
    rows = write(tmp_path / "c" / "set.fr.json", [{"messages": chat} for chat in chats])
    assert load_set(lines) == load_set(listed) == load_set(rows)
    assert [(item.id, item.instruction) for item in load_set(lines)] == [
        ("set-001-fr", "Un"),
        ("set-002-fr", "Deux"),
    ]


def test_alpacaeval_gives_instructions_without_its_answers(tmp_path: Path) -> None:
    rows = [{"dataset": "koala", "instruction": "Why?", "output": "Because.", "generator": "m"}]
    [item] = load_set(write(tmp_path / "alpaca.json", rows), ["en"])
    assert item == Instruction("alpaca-001-en", "alpaca-001", "en", "koala", "Why?")


def test_rows_of_ours_may_leave_out_all_but_the_instruction(tmp_path: Path) -> None:
    path = write(tmp_path / "mine" / "fr.jsonl", '{"instruction": "Un"}\n{"instruction": ""}\n')
    # An empty instruction is for the generator to report; the loader keeps it.
    assert [(item.id, item.instruction) for item in load_set(path)] == [
        ("mine-001-fr", "Un"),
        ("mine-002-fr", ""),
    ]


def test_a_row_says_its_language_louder_than_the_file_name(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "language": "PT_br"}, {"instruction": "b"}]
    assert [item.language for item in load_set(write(tmp_path / "x.fr.json", rows))] == ["pt", "fr"]


def test_rows_in_other_languages_are_left_out(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "language": "fr"}, {"instruction": "b", "language": "en"}]
    [item] = load_set(write(tmp_path / "x.json", rows), ["en"])
    assert item.id == "x-002-en"


def test_a_chat_keeps_its_system_prompt_and_history_up_to_the_last_question(tmp_path: Path) -> None:
    system, answer = {"role": "system", "content": "s"}, {"role": "assistant", "content": "b"}
    turns = [system, user("a"), answer, user("c")]
    expected = Instruction("x-001-fr", "x-001", "fr", "", "c", messages=turns)
    for row in (turns, [*turns, answer], {"messages": turns}, {"prompt": turns, "completion": [answer]}):
        [item] = load_set(write(tmp_path / "x.fr.json", [row]))
        assert item == expected
        assert [(turn.role, turn.content) for turn in item.conversation] == [
            ("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"),
        ]  # fmt: skip
    write_jsonl(tmp_path / "all.jsonl", [expected.row()])
    assert load_set(tmp_path / "all.jsonl") == [expected]
    # Alpaca's columns are the same chat.
    alpaca = {"system": "s", "history": [["a", "b"]], "instruction": "c", "input": "", "output": "d"}
    assert load_set(write(tmp_path / "x.fr.json", [alpaca])) == [expected]
    # Dolly's context follows its instruction, as in training.
    [item] = load_set(write(tmp_path / "y.en.json", [{"instruction": "q", "context": "c", "response": "a"}]))
    assert (item.instruction, item.messages) == ("q\nc", None)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([{"role": "assistant", "content": "a"}], "the chat has no question"),
        ([user("a"), {"role": "system", "content": "s"}, user("b")], "a system prompt after the first turn"),
        (
            {"instruction": "a", "messages": [user("b")]},
            "the instruction is not the last question in messages",
        ),
        ({"messages": [{"role": "robot", "content": "b"}]}, "turn 1: role 'robot' is not"),
    ],
)
def test_a_chat_that_asks_nothing_or_two_things_is_refused(tmp_path: Path, row: Any, reason: str) -> None:
    with pytest.raises(UserError, match=rf"x\.fr\.json, item 1: {reason}"):
        load_set(write(tmp_path / "x.fr.json", [row]))


def test_a_text_file_has_a_prompt_on_each_line(tmp_path: Path) -> None:
    (tmp_path / "mine.it.txt").write_text("\ufeffCiao, come stai?\r\n\n  Perché?  \n", encoding="utf-8")
    first, second = load_set(tmp_path / "mine.it.txt")
    assert first == Instruction("mine-001-it", "mine-001", "it", "", "Ciao, come stai?")
    assert second.instruction == "Perché?"
    packed = tmp_path / "questions.txt.gz"
    packed.write_bytes(gzip.compress(b"Uno\nDue\n"))
    assert [(item.id, item.language) for item in load_set(packed)] == [
        ("questions-001", ""), ("questions-002", ""),
    ]  # fmt: skip
    assert load_set(packed, ["Italian"])[1].id == "questions-002-it"


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl.gz"])
def test_tables_of_other_columns_are_prompts_too(tmp_path: Path, ending: str) -> None:
    import pandas

    table = pandas.DataFrame(
        {
            "Nr": [7, 8],
            "Lingua": ["it", "es"],
            "Domanda": ["Che ora\nè, ora?", "¿Qué hora es?"],
            "instruction": "x",
        }
    )
    path = tmp_path / f"mine.{ending}"
    if ending == "parquet":
        table.to_parquet(path)
    elif ending == "jsonl.gz":
        table.to_json(path, orient="records", lines=True)
    else:
        # With a column of row numbers.
        table.to_csv(path, sep="," if ending == "csv" else "\t", encoding="utf-8-sig")
    columns = ("prompt=Domanda", "language=Lingua", "id=Nr", "completion=Nr")
    assert [(item.id, item.language, item.instruction) for item in load_set(path, columns=columns)] == [
        ("7", "it", "Che ora\nè, ora?"), ("8", "es", "¿Qué hora es?"),
    ]  # fmt: skip
    with pytest.raises(
        UserError, match=rf"mine\.{ending}, .*: there is no key 'Frage', which --columns names; keys:"
    ):
        load_set(path, columns=["prompt=Frage"])


def test_a_folder_may_hold_a_file_of_any_format_for_each_language(tmp_path: Path) -> None:
    write(tmp_path / "set" / "it.txt", "Uno\n")
    write(tmp_path / "set" / "es.csv", "instruction\nDos\n")
    write(tmp_path / "set" / "README.md", "no prompts")
    assert [(item.id, item.instruction) for item in load_set(tmp_path / "set")] == [
        ("set-001-es", "Dos"), ("set-001-it", "Uno"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["Ciao, come stai?", "Perché?", "你好吗？", "What is 5/3 of 9", "a.b c", "Ciao\ncome stai " * 400],
)  # fmt: skip
def test_a_text_is_a_prompt(text: str) -> None:
    [item] = load_set(text)
    assert (item.instruction, item.language, item.id) == (text, "", "prompt-001")
    assert load_set(text, ["it"])[0].id == "prompt-001-it"


@pytest.mark.parametrize(
    "path", ["prompts.jsonl", "my prompts.csv", "./my prompts", "/data/my prompts", "~/my prompts", "ciao", "my.txt"],
)  # fmt: skip
def test_a_mistyped_path_is_no_prompt(path: str) -> None:
    with pytest.raises(UserError, match="is neither a file, a folder nor a shipped set"):
        load_set(path)


def test_a_file_whose_name_could_be_a_prompt_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "my prompts?" / "it.txt", "Uno\n")
    assert load_set("my prompts?")[0].instruction == "Uno"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": "a"}', r"line 1: no instruction among its keys \(question\); accepted: .*AlpacaEval"),
        ('{"instruction": "a"}\n{"task": "b"}', r"line 2: no instruction among its keys \(task\)"),
        ('{"instruction": null}', "line 1: instruction must be text, not None"),
        ('{"instruction": "a", "task": 3}', "line 1: task must be text, not 3"),
        ('{"instruction": "a", "modifier": "markdown"}', "line 1: modifier must be"),
        ('{"instruction": "a", "language": "elvish"}', "line 1: language 'elvish' is not a code"),
        ('"a"', "line 1: 'a' is not an instruction"),
        ("{", "line 1: not JSON"),
        ("", "holds no instructions"),
        ('{"instruction": "a", "id": "i"}\n{"instruction": "b", "id": "i"}', "the id 'i' appears twice"),
    ],
)
def test_a_bad_file_is_refused_naming_the_place(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_set(write(tmp_path / "set.en.jsonl", content))


def test_a_file_that_does_not_say_its_language_needs_exactly_one(tmp_path: Path) -> None:
    path = write(tmp_path / "alpaca.json", [{"instruction": "Why?"}])
    assert len(load_set(path, ["en"])) == 1
    for languages in (None, ["en", "fr"]):
        with pytest.raises(UserError, match="the language is not known"):
            load_set(path, languages)


def test_a_folder_with_the_name_of_a_set_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "xlt113" / "en.jsonl", '{"instruction": "mine"}')
    monkeypatch.chdir(tmp_path)
    assert len(load_set("xlt113", ["en"])) == 113
    assert len(load_set("./xlt113", ["en"])) == 1


def test_an_unknown_set_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        UserError, match="xlt13 is neither a file, a folder nor a shipped set; did you mean 'xlt113'"
    ):
        load_set("xlt13")


def test_a_language_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no instructions in it; it has de, en, fr, pt, ru"):
        load_set("xlt113", ["fr", "it"])
    with pytest.raises(UserError, match="no instructions in de; it has fr"):
        load_set(write(tmp_path / "x.fr.json", [{"instruction": "a"}]), ["de"])


def test_a_folder_without_a_set_is_refused_naming_what_it_holds(tmp_path: Path) -> None:
    write(tmp_path / "photo.png", "")
    with pytest.raises(
        UserError, match=r"not a set of instructions \(it holds photo\.png\); accepted: .*released"
    ):
        load_set(tmp_path)


# Folders of one's own


def own_set(folder: Path, modifiers: str) -> Path:
    write(folder / "en.jsonl", '{"instruction_id": "a", "instruction": "One?"}\n')
    write(folder / "fr.jsonl", '{"instruction_id": "a", "instruction": "Un :\\n\\ntexte"}\n')
    write(folder / "modifiers.yaml", modifiers)
    return folder


def test_a_folder_of_ones_own_has_modifiers_too(tmp_path: Path) -> None:
    folder = own_set(
        tmp_path / "own",
        """
        shout: {texts: {en: Shout., fr: Crie.}, instructions: [a]}
        list_n: {param: n, texts: {en: "List {n}.", fr: "{n} idées."}, instructions: {a: {en: 3, fr: 4}}}
        answer_in: {param: language, texts: {en: {de: In German.}, fr: {de: En allemand.}}, instructions: {a: de}}
        """,
    )
    items = load_set(folder, modifiers=True)
    assert [(item.id, item.language, item.instruction) for item in items] == [
        ("a-en", "en", "One?"),
        ("a-en-shout", "en", "One? Shout."),
        ("a-en-list_n", "en", "One? List 3."),
        ("a-en-answer_in", "de", "One? In German."),
        ("a-fr", "fr", "Un :\n\ntexte"),
        ("a-fr-shout", "fr", "Un :\n\ntexte\n\nCrie."),
        ("a-fr-list_n", "fr", "Un :\n\ntexte\n\n4 idées."),
        ("a-fr-answer_in", "de", "Un :\n\ntexte\n\nEn allemand."),
    ]
    assert load_set(folder) == [item for item in items if item.modifier is None]
    assert items[2].modifier == {"name": "list_n", "params": {"n": 3}}


@pytest.mark.parametrize(
    ("modifiers", "message"),
    [
        ("x: {texts: {en: A., fr: B.}, instructions: [b]}", "x names b, which .*en.jsonl lacks"),
        ("x: {texts: {en: A.}, instructions: [a]}", "x lacks 'fr' for a in fr"),
        ("x: {param: n, texts: {en: '{m}', fr: '{m}'}, instructions: {a: 1}}", "x lacks 'm' for a in en"),
        ("x: {texts: {en: A., fr: B.}}", "must give each modifier its texts and instructions"),
        ("- x", "must give each modifier its texts and instructions"),
        ("x: {", "is not valid YAML"),
    ],
)
def test_a_mistake_in_the_modifiers_is_named(tmp_path: Path, modifiers: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_set(own_set(tmp_path / "own", modifiers), modifiers=True)


def test_modifiers_of_a_folder_without_them_are_missed(tmp_path: Path) -> None:
    write(tmp_path / "own" / "en.jsonl", '{"instruction": "a"}')
    with pytest.raises(UserError, match=r"modifiers\.yaml does not exist"):
        load_set(tmp_path / "own", modifiers=True)


# The authors' released set, in its form


BASE = {"en": ["Tell me.", "Tell me. Why?", "Go"], "fr": ["Dis.", "Dis. Pourquoi ?", "Va"]}
TAILS = {"en": [" Short.", " List 9 options.", " In Russian."], "fr": [" Court.", " Liste 9.", " En russe."]}


def released(folder: Path, types: str = "short\nnum_items_9\nlang_ru") -> Path:
    for language, texts in BASE.items():
        rows = [texts[1] + TAILS[language][0], texts[0] + TAILS[language][1], texts[2] + TAILS[language][2]]
        place = folder / "data"
        write(place / f"alpacaeval_test_subset.{language}.jsonl", lines(texts))
        write(place / f"modifiers.{language}.jsonl", lines(rows))
        write(place / f"modifiers.{language}.types", types)
    return folder


def lines(texts: list[str]) -> str:
    return "".join(json.dumps([user(text)]) + "\n" for text in texts)


def test_the_released_set_is_found_under_a_folder(tmp_path: Path) -> None:
    items = load_set(released(tmp_path), ["fr"])
    name = "alpacaeval_test_subset"
    assert items == [
        Instruction(f"{name}-{n:03d}-fr", f"{name}-{n:03d}", "fr", "", text)
        for n, text in enumerate(BASE["fr"], start=1)
    ]


@pytest.mark.parametrize("end", ["", "\n"])
def test_released_modifiers_belong_to_the_instruction_they_start_with(tmp_path: Path, end: str) -> None:
    folder = released(tmp_path, "short\nnum_items_9\nlang_ru" + end)
    items = [item for item in load_set(folder, modifiers=True) if item.modifier]
    assert [(item.id[23:], item.language, item.modifier, item.instruction) for item in items] == [
        ("002-en-briefly", "en", {"name": "briefly", "params": {}}, "Tell me. Why? Short."),
        ("001-en-list_n", "en", {"name": "list_n", "params": {"n": 9}}, "Tell me. List 9 options."),
        ("003-en-answer_in", "ru", {"name": "answer_in", "params": {"language": "ru"}}, "Go In Russian."),
        ("002-fr-briefly", "fr", {"name": "briefly", "params": {}}, "Dis. Pourquoi ? Court."),
        ("001-fr-list_n", "fr", {"name": "list_n", "params": {"n": 9}}, "Dis. Liste 9."),
        ("003-fr-answer_in", "ru", {"name": "answer_in", "params": {"language": "ru"}}, "Va En russe."),
    ]


def test_released_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has 3 rows and .*en\.types has 2"):
        load_set(released(tmp_path, "short\nlong"), modifiers=True)
    folder = released(tmp_path)
    write(folder / "data" / "modifiers.en.jsonl", lines(["Tell me. a", "Other.", "Go"]))
    with pytest.raises(UserError, match=r"'Other\.' does not start with an instruction of the plain set"):
        load_set(folder, modifiers=True)
    write(folder / "copy" / "alpacaeval_test_subset.en.jsonl", lines(["x"]))
    with pytest.raises(UserError, match="name the folder of one of them"):
        load_set(folder)


def test_loading_a_set_needs_neither_jax_nor_the_evaluators_libraries() -> None:
    code = (
        "import sys; from xltjax.data.prompt_sets import load_set; load_set('xlt113', modifiers=True);"
        "print(sorted({'jax', 'regex', 'fasttext', 'hunspell', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
