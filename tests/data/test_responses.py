"""Reading responses: every accepted form, and one-line errors for the rest."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xltjax.common.errors import UserError
from xltjax.common.files import json_line
from xltjax.common.languages import language_code, scripts
from xltjax.data.responses import Response, iterate_responses, read_responses


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_our_rows_keep_every_key(tmp_path):
    row = {
        "id": "a",
        "model": "m",
        "language": "pt-BR",
        "task": "email",
        "instruction": "Escreva.",
        "response": "Olá.",
        "finish_reason": "stop",
        "modifier": {"name": "brief", "params": {}},
        "instruction_id": "i7",
        "prompt_tokens": 12,
        "response_tokens": 4,
        "seed": 3,
        "notes": ["x"],
    }
    (response,) = read_responses([write(tmp_path / "r.jsonl", [row])])
    assert response == Response(
        id="a",
        model="m",
        language="pt",
        task="email",
        instruction="Escreva.",
        response="Olá.",
        finish_reason="stop",
        modifier={"name": "brief", "params": {}},
        instruction_id="i7",
        prompt_tokens=12,
        response_tokens=4,
        extra={"seed": 3, "notes": ["x"]},
    )


def test_the_given_language_fills_only_rows_that_name_none(tmp_path):
    rows = [{"id": 1, "response": "a", "language": "ru"}, {"id": 2, "response": "b"}]
    responses = read_responses([write(tmp_path / "r.jsonl", rows)], language="FR")
    assert [(r.id, r.language) for r in responses] == [("1", "ru"), ("2", "fr")]


def test_without_any_language_it_stays_empty(tmp_path):
    (response,) = read_responses([write(tmp_path / "r.jsonl", [{"id": "a", "response": "b"}])])
    assert response.language == ""


def test_a_null_answer_is_an_empty_one(tmp_path):
    rows = [{"id": "a", "response": None, "finish_reason": None, "model": None, "note": None}]
    (response,) = read_responses([write(tmp_path / "r.jsonl", rows)])
    assert (response.response, response.finish_reason, response.model) == ("", "", "r")
    assert response.extra == {"note": None}


@pytest.mark.parametrize(
    ("finish_reason", "failure"),
    [
        ("failed: too long (900 tokens, room for 512)", "no answer (too long)"),
        ("failed: empty instruction", "no answer (empty instruction)"),
        ("failed:", "no answer (not said why)"),
        ("stop", ""),
        ("length", ""),
        ("", ""),
        ("failedness: none", ""),
    ],
)
def test_a_finish_reason_that_says_failed_is_a_failure_without_its_numbers(finish_reason, failure):
    assert Response(id="a", finish_reason=finish_reason).failure == failure


@pytest.mark.parametrize("indent", [None, 2], ids=["one line", "many lines"])
def test_alpacaeval_output_files_are_read(tmp_path, indent):
    rows = [
        {"dataset": "koala", "instruction": "Hi?", "output": "Hello.", "generator": "davinci"},
        {"dataset": "vicuna", "instruction": "Why?", "output": "Because.", "generator": "davinci"},
    ]
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(rows, indent=indent), encoding="utf-8")
    first, second = read_responses([path], language="en")
    assert (first.id, first.model, first.language) == ("outputs/1", "davinci", "en")
    assert (second.instruction, second.response, second.extra) == ("Why?", "Because.", {"dataset": "vicuna"})


CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Bonjour ?"},
    {"role": "assistant", "content": "Bonjour !"},
]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(CHAT) + "\n" + json.dumps(CHAT) + "\n",
        json.dumps([CHAT, CHAT]),
        json.dumps([CHAT, CHAT], indent=1),
        json.dumps({"messages": CHAT}) + "\n" + json.dumps({"messages": CHAT}),
        json.dumps([{"messages": CHAT}, {"messages": CHAT}], indent=1),
    ],
    ids=["a chat a line", "list of chats", "indented list of chats", "messages a line", "list of messages"],
)
def test_chats_end_with_the_answer(tmp_path, text):
    path = tmp_path / "llama.json"
    path.write_text(text, encoding="utf-8")
    responses = read_responses([path], language="fr")
    assert [(r.id, r.model) for r in responses] == [("llama/1", "llama"), ("llama/2", "llama")]
    assert {(r.instruction, r.response) for r in responses} == {("Bonjour ?", "Bonjour !")}


def test_one_indented_chat_is_one_response(tmp_path):
    path = tmp_path / "chat.json"
    path.write_text(json.dumps(CHAT, indent=1), encoding="utf-8")
    assert [r.response for r in read_responses([path])] == ["Bonjour !"]


WRITTEN = {
    "id": "a",
    "model": "m",
    "language": "pt",
    "task": "email",
    "instruction": "Escreva.",
    "response": "Olá.",
    "finish_reason": "length",
    "prompt_tokens": 12,
    "response_tokens": 4,
}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"instruction_id": "i7"},
        {
            "instruction_id": "i7",
            "modifier": {"name": "list_n", "params": {"n": 2}},
            "human": True,
            "x": None,
        },
    ],
    ids=["plain", "instruction", "everything"],
)
def test_a_row_that_is_read_and_written_is_the_same_to_the_letter(tmp_path, more):
    row = {**WRITTEN, **more}
    (response,) = read_responses([write(tmp_path / "r.jsonl", [row])])
    assert json.dumps(response.row()) == json.dumps(row)


def test_a_row_without_a_modifier_has_no_key_for_it():
    assert list(Response(id="a", extra={"seed": 3}).row()) == [*WRITTEN, "seed"]


@given(
    texts=st.lists(st.text(max_size=5), min_size=5, max_size=5),
    tokens=st.one_of(st.none(), st.integers(0, 9)),
    modifier=st.one_of(st.none(), st.just({"name": "list_n", "params": {"n": 2}})),
    extra=st.dictionaries(st.sampled_from(["seed", "human", "output"]), st.integers()),
)
def test_a_response_that_is_written_and_read_is_the_same(tmp_path_factory, texts, tokens, modifier, extra):
    model, task, instruction, text, instruction_id = texts
    response = Response(
        id="a",
        model=model,
        language="fr",
        task=task,
        instruction=instruction,
        response=text,
        modifier=modifier,
        instruction_id=instruction_id,
        prompt_tokens=tokens,
        extra=extra,
    )
    assert read_responses([write(tmp_path_factory.mktemp("any") / "r.jsonl", [response.row()])]) == [response]


def test_models_may_share_ids_but_a_model_has_each_once(tmp_path):
    one = write(tmp_path / "one.jsonl", [{"id": "a", "model": "m", "response": "x"}])
    two = write(tmp_path / "two.jsonl", [{"id": "a", "model": "n", "response": "y"}])
    assert [response.key for response in read_responses([one, two])] == [("m", "a"), ("n", "a")]
    three = write(tmp_path / "three.jsonl", [{"id": "a", "model": "m", "response": "y"}])
    with pytest.raises(
        UserError, match=r"three\.jsonl, line 1: the id 'a' occurs twice for the model 'm'"
    ) as mistake:
        read_responses([one, two, three])
    assert "\n" not in str(mistake.value)
    # A row that names no model has the name of its file.
    same = [write(tmp_path / f"{name}.jsonl", [{"id": "a", "response": "x"}]) for name in "pq"]
    assert [response.key for response in read_responses(same)] == [("p", "a"), ("q", "a")]


def test_rows_are_read_as_a_stream(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"id": "a", "response": "x"}\nnot json\n', encoding="utf-8")
    stream = iterate_responses([path])
    assert next(stream).id == "a"
    with pytest.raises(UserError, match="line 2: not JSON"):
        next(stream)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no responses"),
        ("[]", "holds no responses"),
        ("\n \n", "holds no responses"),
        ("hello", "line 1: not JSON"),
        ('[{"id": "a", "response": "b"},\n', "line 2: not JSON"),
        ("[" * 100_000, "nested too deeply|not JSON"),
        ('{"id": "a", "answer": "b"}', "keys answer, id are not a response; expected id and response"),
        ('{"response": "b"}', "the response has no id"),
        ('{"id": "a", "response": 3}', "response must be text, not 3"),
        ('{"id": "a", "response": "b", "task": {}}', "task must be text"),
        ('{"id": "a", "response": "b", "prompt_tokens": "9"}', "prompt_tokens must be a whole number"),
        ('{"id": "a", "response": "b", "modifier": "brief"}', "modifier must be"),
        ('{"id": "a", "response": "b", "language": "Elvish"}', "line 1: language 'Elvish' is not a code"),
        ('[{"role": "user", "content": "Hi"}]', "does not end with an assistant's answer"),
        ("7", "not 7"),
        ("[7]", "not 7"),
        ('{"id": "a", "response": "b"}\n[1, 2]', r"line 2: .* not \[1, 2\]"),
    ],
)
def test_what_is_no_response_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "r.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as mistake:
        read_responses([path])
    assert "\n" not in str(mistake.value)


@pytest.mark.parametrize(
    ("content", "message"), [(b"\xff\xfe", "not UTF-8"), (None, "does not exist")], ids=["binary", "missing"]
)
def test_unreadable_files_are_named(tmp_path, content, message):
    path = tmp_path / "r.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_responses([path])
    with pytest.raises(UserError, match="is a directory"):
        read_responses([tmp_path])


def test_a_byte_order_mark_does_no_harm(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": "a", "response": "b"}\n')
    assert read_responses([path])[0].response == "b"
    path.write_bytes(b'\xef\xbb\xbf[\n{"id": "a", "response": "b"}\n]\n')
    assert read_responses([path])[0].response == "b"


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ("fr fra fre FR fr-CA fr_FR.UTF-8 French français FRENCH francês", "fr"),
        ("de deu ger de-AT German Deutsch", "de"),
        ("pt pt_PT PT-br por Portuguese português", "pt"),
        ("ru rus ru_RU Russian русский", "ru"),
        ("zh zh-CN zh_Hant_TW zho chi cmn Chinese Mandarin 中文", "zh"),
        ("no nb nor nob nb-NO Norwegian", "no"),
        ("tl fil tgl Filipino", "tl"),
        ("he iw heb Hebrew", "he"),
        ("id in ind Indonesian", "id"),
        ("hi hin hi-Latn Hindi हिन्दी", "hi"),
        ("ar ara arb Arabic العربية", "ar"),
        ("ja jpn Japanese 日本語", "ja"),
        ("ko kor Korean 한국어", "ko"),
        ("es spa es-419 Spanish español", "es"),
        ("yue zh-yue Cantonese", "yue"),
    ],
)
def test_every_way_to_name_a_language_gives_one_code(names, code):
    assert {name: language_code(name) for name in names.split()} == dict.fromkeys(names.split(), code)
    assert language_code(f" {code} ") == code


def test_names_of_languages_may_have_a_region():
    assert language_code("Brazilian Portuguese") == language_code("Portuguese (Brazil)") == "pt"
    assert language_code("Norwegian Bokmål") == "no"


@pytest.mark.parametrize(
    "name", ["", "f", "Elvish", "fr fr", "12", "../x", "xx", "jp", "--", "responses", "fr?"]
)
def test_other_language_names_are_refused(name):
    with pytest.raises(UserError, match="is not a code such as 'fr'"):
        language_code(name)


def test_the_languages_of_our_sets_and_of_the_benchmark_keep_their_codes():
    for code in ("en", "fr", "pt", "ru", "de", "es", "it", "id", "tr", "vi", "ar", "hi", "ja", "ko", "zh"):
        assert language_code(code) == code
        assert scripts(code)


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("ru", "Cyrl"),
        ("sr", "Cyrl Latn"),
        ("zh", "Bopo Hani"),
        ("ko", "Hang Hani"),
        ("hi", "Deva"),
        ("no", "Latn"),
    ],
)
def test_scripts_are_those_that_a_language_is_written_in(language, expected):
    assert " ".join(sorted(scripts(language))) == expected


@given(text=st.text(st.characters(exclude_categories=())))
def test_any_text_survives_the_file(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "r.jsonl"
    path.write_text(json_line({"id": "a", "response": text}), encoding="utf-8", newline="\n")
    assert read_responses([path])[0].response == text
