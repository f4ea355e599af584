"""Running ``translate`` in this process, a server that translates, and tiny random models of translation."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.judge.server import JudgeServer, completion, judge_server

from xltjax.eval.judge.api import client
from xltjax.translate import __main__ as program

# Kinds of misbehavior that end after the first attempt, and those that never end.
PASSING = (
    "429_after",
    "429",
    "500",
    "503_html",
    "hang",
    "cut",
    "html",
    "not_json",
    "error_200",
    "close",
    "drip",
)
LASTING = ("500_forever", "cut_forever", "html_forever", "400", "no_choices")
WORDS = {
    "fr": "Voici l'élément {n}, kind={kind}",
    "ru": "Это предмет {n}, kind={kind}",
}


def translate(*arguments: str | Path) -> int:
    """Run the command; the exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["translate", *map(str, arguments)])
        patch.setattr(client, "FIRST_DELAY", 0.02)
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
            patch.delenv(name, raising=False)
        with pytest.raises(SystemExit) as stop:
            program.main()
    return stop.value.code or 0 if not isinstance(stop.value.code, str) else 1


def source_of(body: Mapping[str, Any]) -> str:
    """The text that the prompt ``plain`` asks to translate."""
    content: str = body["messages"][-1]["content"]
    return content.split("translation alone.\n\n", 1)[1]


@contextmanager
def translator(change: Callable[[str, Mapping[str, Any]], str]) -> Iterator[JudgeServer]:
    """A server whose translation of a text is what ``change`` gives for it and the request."""
    with judge_server() as server:
        server.hook = lambda body: (200, completion(change(source_of(body), body)), {})
        yield server


def echo(text: str, body: Mapping[str, Any]) -> str:
    """The text itself."""
    return text


def item(number: int, kind: str) -> dict[str, Any]:
    """A row of Dolly's with one sentence that the server treats as ``kind``."""
    return {
        "instruction": f"This is item {number}, kind={kind}",
        "context": "",
        "response": "",
        "category": "qa",
    }


def misbehave(server: JudgeServer) -> None:
    """Let ``server`` treat each ``item`` as its kind says, and translate it in the end."""

    def answer(body: Mapping[str, Any]) -> tuple[int, Any, Mapping[str, str]] | None:
        text = source_of(body)
        found = re.search(r"item (\d+), kind=(\w+)", text)
        number, kind = (found[1], found[2]) if found else ("0", "good")
        language = "ru" if "into Russian" in body["messages"][-1]["content"] else "fr"
        if kind in LASTING or (kind in PASSING and _attempts(server, text) == 1):
            return None
        return 200, completion(WORDS[language].format(n=number, kind=kind)), {}

    server.hook = answer


def _attempts(server: JudgeServer, text: str) -> int:
    """How often the server was asked in this language; the request that is being answered counts."""
    return sum(source_of(each) == text for each in server.bodies)


def lines(path: Path) -> list[Any]:
    """The lines of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def results(out: Path) -> dict[str, bytes]:
    """The files that a run leaves, but for the journal and the record with its hashes."""
    return {
        path.name: path.read_bytes()
        for path in sorted(out.iterdir())
        if path.name not in ("calls.jsonl", "translate.json", ".lock")
    }


def texts(count: int) -> list[str]:
    """English sentences from the evaluation set."""
    from xltjax.data.prompt_sets import load_set

    return [each.instruction.split("\n")[0][:200] for each in load_set("xlt113", ["en"])][:count]


def tiny_nllb(directory: Path) -> Any:
    """A random NLLB of two layers with a tokenizer of its class, saved in ``directory``; the transformers model.

    Its hypotheses end after different numbers of tokens, but never right after the language, where CTranslate2 has
    another rule: it drops the empty translation from the beam.
    """
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trained.train_from_iterator(
        texts(113), trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    )
    model = json.loads(trained.to_str())["model"]
    tokenizer = transformers.NllbTokenizer(
        vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]]
    )
    tokenizer.save_pretrained(directory)
    return random_m2m100(directory, len(tokenizer) + 2, tokenizer.convert_tokens_to_ids("fra_Latn"))


def tiny_m2m100(directory: Path) -> Any:
    """A random M2M100 with a tokenizer of its class, saved in ``directory``; the tokenizer."""
    import sentencepiece
    import transformers

    directory.mkdir(exist_ok=True)
    (directory / "texts.txt").write_text("\n".join(texts(113)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(directory / "texts.txt"), model_prefix=str(directory / "sentencepiece.bpe"), vocab_size=300,
        character_coverage=1.0, bos_id=0, pad_id=1, eos_id=2, unk_id=3, minloglevel=2,
    )  # fmt: skip
    file = directory / "sentencepiece.bpe.model"
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(file))
    vocabulary = {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>"])}
    for number in range(pieces.get_piece_size()):
        vocabulary.setdefault(pieces.id_to_piece(number), len(vocabulary))
    (directory / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = transformers.M2M100Tokenizer(str(directory / "vocab.json"), str(file))
    tokenizer.save_pretrained(directory)
    random_m2m100(directory, len(vocabulary) + 108, tokenizer.convert_tokens_to_ids("__fr__"))
    return tokenizer


def random_m2m100(directory: Path, vocabulary: int, french: int) -> Any:
    """A random model of M2M100's kind in float32, saved in ``directory``."""
    import torch
    import transformers

    config = transformers.M2M100Config(
        vocab_size=vocabulary, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=1024,
        scale_embedding=True, decoder_start_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.M2M100ForConditionalGeneration(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            norm = "norm" in name and name.endswith("weight")
            parameter.copy_(1 + 0.1 * noise if norm else 0.3 * noise)
        # EOS is likely everywhere but after the token of the language.
        direction = torch.nn.functional.normalize(torch.randn(32), dim=0)
        model.model.decoder.layer_norm.bias.copy_(2 * direction)
        model.model.shared.weight[2] += 4.5 * direction
        model.model.shared.weight[french] -= 9 * direction
    model.eval().save_pretrained(directory)
    return model


def generated(
    model: Any, sources: Sequence[Sequence[int]], french: int, beam: int, most: int
) -> list[list[int]]:
    """What ``transformers.generate`` makes of token ids: from the token of the language to EOS, without padding."""
    import torch

    width = max(map(len, sources))
    ids = torch.tensor([[*each, *[1] * (width - len(each))] for each in sources])
    with torch.inference_mode():
        found = model.generate(
            ids, attention_mask=(ids != 1).long(), forced_bos_token_id=french, num_beams=beam, do_sample=False,
            early_stopping=beam > 1, max_new_tokens=most, max_length=None,
        )  # fmt: skip
    return [[token for token in row[1:].tolist() if token != 1] for row in found]
