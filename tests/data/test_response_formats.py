"""Responses in the files of other tools: tables, samples of lm-eval, prompts and chats, pairs, and named keys."""

import csv
import gzip
import json
import logging

import pytest

from xltjax.common.errors import UserError
from xltjax.data.reading.answers import RowKeys
from xltjax.data.responses import read_responses


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path, rows, **options):
    return read_responses([write(path, rows)], **options)


def shown(responses):
    return [(r.id, r.model, r.instruction, r.response) for r in responses]


# --- tables ---

COLUMNS = ("id", "model", "language", "instruction", "response", "modifier", "response_tokens", "note")
CELLS = [
    ("1", "base", "fr", "Dis\nbonjour, s'il te plaît", 'Bonjour ; "toi"\n\t!', "", "12", "x"),
    ("2", "", "", "Rien", "", '{"name": "list_n", "params": {"n": 3}}', "", ""),
]


@pytest.mark.parametrize(
    ("name", "delimiter"), [("r.csv", ","), ("r.tsv", "\t"), ("r.csv", ";"), ("r.csv.gz", ",")]
)
def test_tables_are_read_with_the_types_of_our_fields(tmp_path, name, delimiter):
    path = tmp_path / name
    opened = gzip.open if name.endswith(".gz") else open
    with opened(path, "wt", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([COLUMNS, *CELLS])
    first, second = read_responses([path], language="pt")
    assert (first.id, first.model, first.language, first.response_tokens) == ("1", "base", "fr", 12)
    assert (first.instruction, first.response, first.extra) == (CELLS[0][3], CELLS[0][4], {"note": "x"})
    assert (second.id, second.model, second.language, second.response) == ("2", "r", "pt", "")
    assert (second.modifier, second.response_tokens) == ({"name": "list_n", "params": {"n": 3}}, None)


def test_parquet_is_read_and_whole_numbers_are_names(tmp_path):
    import pyarrow
    from pyarrow import parquet

    columns = {"id": [1.0, 2.0], "model": [7, 7], "response": ["a", None], "instruction_id": [3, 3]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "r.parquet")
    responses = read_responses([tmp_path / "r.parquet"])
    assert [(r.id, r.model, r.response, r.instruction_id) for r in responses] == [
        ("1", "7", "a", "3"),
        ("2", "7", "", "3"),
    ]


def test_a_number_and_its_text_are_one_id(tmp_path):
    rows = [{"id": 1, "model": 5, "response": "a"}, {"id": "1", "model": "5", "response": "a"}]
    with pytest.raises(
        UserError, match=r"line 2: the id '1' occurs twice for the model '5', first in .*line 1"
    ):
        read(tmp_path / "r.jsonl", rows)


# --- samples of lm-eval ---


def sample(doc, texts, prompt="Q?", **more):
    """A row as lm-eval 0.4.8 writes it."""
    return {
        "doc_id": doc,
        "doc": {"question": "Q?", "language": "French"},
        "target": "8",
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": {"until": ["\n\n"], "do_sample": False}}},
        "resps": [texts],
        "filtered_resps": ["8"],
        "filter": "none",
        "metrics": ["exact_match"],
        "doc_hash": "a",
        "prompt_hash": "b",
        "target_hash": "c",
        "exact_match": 1.0,
        **more,
    }


LOG = "out/org__llama/samples_mgsm_fr_2025-02-03T10-00-00.123456.jsonl"


def test_samples_of_lm_eval_have_the_model_of_their_folder_and_the_task_of_their_file(tmp_path):
    # Two filters of one request: a row for each, with the same text.
    rows = [
        sample(0, ["Huit."]),
        sample(0, ["Huit."], filter="strict", filtered_resps=["[invalid]"]),
        sample(1, ["!"]),
    ]
    first, second = read(tmp_path / LOG, rows, keys=RowKeys(language="doc.language"))
    assert (first.id, first.model, first.task) == ("mgsm_fr/0", "org/llama", "mgsm_fr")
    assert (first.language, first.instruction, first.response) == ("fr", "Q?", "Huit.")
    assert (second.id, second.response, second.extra["exact_match"]) == ("mgsm_fr/1", "!", 1.0)


def test_several_samples_of_one_document_share_its_instruction(tmp_path):
    responses = read(tmp_path / LOG, [sample(4, ["a", "b"])])
    assert [(r.id, r.instruction_id, r.response) for r in responses] == [
        ("mgsm_fr/4/1", "mgsm_fr/4", "a"),
        ("mgsm_fr/4/2", "mgsm_fr/4", "b"),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        [["Q?", {"until": ["\n"]}]],
        [["Q?", "{'until': ['\\n']}"]],
        {"gen_args_0": {"arg_0": [json.dumps([{"role": "user", "content": "Q?"}])], "arg_1": {}}},
        {"gen_args_0": {"arg_0": json.dumps([{"role": "user", "content": "Q?"}]), "arg_1": {}}},
    ],
    ids=["before 2024", "as text", "chat", "chat as text"],
)
def test_prompts_of_every_version_of_lm_eval_are_read(tmp_path, arguments):
    (response,) = read(tmp_path / "mine.jsonl", [sample(0, ["a"], arguments=arguments)])
    assert (response.id, response.model, response.instruction) == ("0", "mine", "Q?")


@pytest.mark.parametrize(
    "row",
    [
        {"resps": [[["-3.2", "False"]], [["-4.0", "True"]]]},
        {"arguments": {"gen_args_0": {"arg_0": "Q?", "arg_1": " yes"}}, "resps": [["-3.2"]]},
        {"arguments": {"gen_args_0": {"arg_0": "Q?"}}, "resps": [["-3.2"]]},
    ],
    ids=["choices", "continuation", "rolling"],
)
def test_log_likelihoods_are_no_answers(tmp_path, row):
    with pytest.raises(UserError, match="line 1: the sample has log-likelihoods and no generated text"):
        read(tmp_path / LOG, [sample(0, ["a"], **row)])


# --- prompts, chats, content parts ---

PARTS = [
    {"type": "text", "text": "What is "},
    {"type": "image_url", "image_url": {}},
    {"type": "text", "text": "?"},
]
THOUGHT = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "A cat."}]


@pytest.mark.parametrize(
    ("row", "instruction", "response"),
    [
        ({"prompt": "Hi?", "completion": "Hello."}, "Hi?", "Hello."),
        ({"prompt": "[1, 2]", "completion": "[3, 4]"}, "[1, 2]", "[3, 4]"),
        ({"prompt": "Hi?", "output": "Hello."}, "Hi?", "Hello."),
        ({"prompt": "Hi?", "response": "Hello."}, "Hi?", "Hello."),
        ({"completion": "Hello."}, "", "Hello."),
        (
            {
                "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "Hi?"}],
                "completion": [{"role": "assistant", "content": "Hello."}],
            },
            "Hi?",
            "Hello.",
        ),
        ({"instruction": "Sum", "input": "1 2", "output": "3"}, "Sum\n1 2", "3"),
        (
            {"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Hello."}]},
            "Hi?",
            "Hello.",
        ),
        ({"conversations": ["Hi?", "Hello."]}, "Hi?", "Hello."),
        ({"conversations": json.dumps(["Hi?", "Hello."])}, "Hi?", "Hello."),
        (
            {"messages": [{"role": "user", "content": PARTS}, {"role": "assistant", "content": THOUGHT}]},
            "What is [image_url]?",
            "A cat.",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": None, "tool_calls": [{}]},
                    {"role": "tool", "content": "x"},
                    {"role": "assistant", "content": "b"},
                ]
            },
            "a",
            "b",
        ),
        ({"response": None, "instruction": "Hi?", "output": "Hello."}, "Hi?", "Hello."),
    ],
)
def test_the_question_and_the_answer_are_found(tmp_path, row, instruction, response):
    assert shown(read(tmp_path / "r.jsonl", [row])) == [("r/1", "r", instruction, response)]


def test_rows_without_an_id_share_one_where_they_share_the_instruction(tmp_path):
    rows = [{"prompt": text, "completion": "x"} for text in ("a", "b", "a")]
    first, second, third = read(tmp_path / "r.jsonl", rows)
    (elsewhere,) = read(tmp_path / "other.jsonl", rows[:1])
    assert first.instruction_id == third.instruction_id == elsewhere.instruction_id != second.instruction_id


# --- pairs of AlpacaEval ---


def pair(instruction, model, output, **more):
    return {
        "instruction": instruction, "output_1": f"ref {instruction}", "generator_1": "davinci", "output_2": output,
        "generator_2": model, "annotator": "gpt4", "preference": 2, **more,
    }  # fmt: skip


def test_a_pair_is_two_answers_and_a_shared_model_counts_once(tmp_path, caplog):
    caplog.set_level(logging.INFO, "xltjax")
    paths = [
        write(tmp_path / folder / "annotations.json", [pair("a", folder, "x"), pair("b", folder, "y")])
        for folder in ("one", "two")
    ]
    responses = read_responses(paths, language="en")
    assert shown(responses) == [
        ("annotations/1", "davinci", "a", "ref a"),
        ("annotations/1", "one", "a", "x"),
        ("annotations/2", "davinci", "b", "ref b"),
        ("annotations/2", "one", "b", "y"),
        ("annotations/1", "two", "a", "x"),
        ("annotations/2", "two", "b", "y"),
    ]
    assert responses[0].extra == {"annotator": "gpt4", "preference": 2}
    assert [record.getMessage() for record in caplog.records] == [
        f"notice: {paths[1]}: 2 answers are repeated, and count once"
    ]


def test_a_model_that_answers_twice_in_pairs_is_named(tmp_path):
    rows = [pair("a", "one", "x", id=5), pair("a", "one", "y", id=5)]
    with pytest.raises(
        UserError, match=r"line 2: the id '5' occurs twice for the model 'one', first in .*line 1"
    ):
        read(tmp_path / "r.jsonl", rows)


# --- named keys ---


def test_keys_are_named_for_any_other_file(tmp_path):
    row = {
        "source": "okapi", "n": 3, "lang": "German", "meta": {"system": "m1", "kind": "email"}, "q": "Wer?",
        "choices": [{"message": {"content": "Ich."}}], "group": 9, "response": {"status": 200},
    }  # fmt: skip
    keys = RowKeys(
        id=("source", "lang", "n"),
        response="choices.0.message.content",
        language="lang",
        model="meta.system",
        instruction="q",
        task="meta.kind",
        instruction_id="group",
    )
    (response,) = read(tmp_path / "r.jsonl", [row], keys=keys)
    assert shown([response]) == [("okapi/German/3", "m1", "Wer?", "Ich.")]
    assert (response.language, response.task, response.instruction_id) == ("de", "email", "9")


def test_a_key_with_a_full_stop_is_read_before_a_path(tmp_path):
    row = {"id": 1, "a.b": "x", "a": {"b": "y"}}
    assert read(tmp_path / "r.jsonl", [row], keys=RowKeys(response="a.b"))[0].response == "x"


def test_a_named_key_goes_before_the_one_that_is_recognized(tmp_path):
    rows = [{"id": "a", "uid": 1, "model": "m", "checkpoint": None, "response": "x", "final": "y"}]
    keys = RowKeys(id=("uid",), response="final", model="checkpoint")
    assert shown(read(tmp_path / "r.jsonl", rows, keys=keys)) == [("1", "m", "", "y")]


@pytest.mark.parametrize(
    ("row", "keys", "message"),
    [
        (
            {"id": 1, "text": "x"},
            RowKeys(response="txt"),
            "no key 'txt', which --response-key names .or --columns.; keys: id, text",
        ),
        (
            {"id": 1, "response": "x"},
            RowKeys(language="lang"),
            "which --language-key names .or --columns.; keys: id, response",
        ),
        ({"id": 1, "response": "x"}, RowKeys(id=("id", "n")), "no key 'n', which --id-key names"),
        ({"id": 1, "response": "x"}, RowKeys(instruction_id="g"), "which --instruction-id-key names"),
        ({"id": 1, "text": "x"}, RowKeys(), "keys id, text are not a response; .*--columns response=answer"),
        ({"id": 1, "response": "x"}, RowKeys(model="id.x"), "no key 'id.x', which --model-key"),
        ({"id": True, "response": "x"}, RowKeys(), "id must be text, not True"),
        ({"id": 1.5, "response": "x"}, RowKeys(), "id must be text, not 1.5"),
        ({"id": [1], "response": "x"}, RowKeys(), r"id must be text, not \[1\]"),
        ({"id": 1, "response": {"a": 1}}, RowKeys(), "response must be text"),
        ({"response": "x"}, RowKeys(), "the response has no id; name its key with --id-key"),
        ({"conversations": []}, RowKeys(), "a chat is a list of"),
        ({"conversations": ["Hi?"]}, RowKeys(), "does not end with an assistant's answer"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, RowKeys(), "turn 1: role 'wizard' is not"),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "image"}]}]},
            RowKeys(),
            "the answer has a part of type 'image'",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line_with_the_keys(tmp_path, row, keys, message):
    with pytest.raises(UserError, match=rf"r\.jsonl, line 1: .*{message}") as mistake:
        read(tmp_path / "r.jsonl", [row], keys=keys)
    assert "\n" not in str(mistake.value)
