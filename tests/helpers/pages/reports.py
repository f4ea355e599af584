"""A report made by hand, for tests of the page: one whose answers, names and drawings do all that they may."""

from __future__ import annotations

from xltjax.eval.report.content import (
    FOREIGN,
    NAME,
    NONWORD,
    Answer,
    Column,
    Figure,
    Judgment,
    Passage,
    Report,
    Section,
    Table,
    UnknownWord,
)

EVIL = (
    "<script>window.broken = 1</script></script><!-- --> &lt;b&gt; <img src=x onerror='window.broken = 2'>\n"
    "\"'`${window.broken = 3}` {{ 7 * 7 }} ]]> \\u003c </textarea></style><style>*{display:none}</style>"
)
SVG = (
    "<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink'"
    " width='360pt' height='120pt' viewBox='0 0 360 120'><style>*{stroke-linejoin: round}</style>"
    "<defs><path id='dot' d='M0 0 H8' style='stroke: #0072b2; stroke-width: 3'/></defs>"
    "<g style='fill: none' clip-path='url(#clip)'><use xlink:href='#dot' x='20' y='40'/></g>"
    "<text x='20' y='80' style=\"font: 10px 'DejaVu Sans', sans-serif; text-anchor: start\">learning rate</text>"
    "<script>window.broken = 4</script></svg>"
)
COLORS = {"en": "#0072b2", "fr": "#d55e00", "pt": "#009e73", "ru": "#cc79a7"}


def table(name: str = "surface", rows: int = 3) -> Table:
    """A table with an interval, a missing value and a text that looks like markup."""
    columns = (
        Column("model", "model"),
        Column("mean", "in the right language, %", ".1f", numeric=True, low="low", high="high"),
        Column("n", "n", numeric=True),
    )
    values = [
        {"model": f"<b>model</b> & {k}", "mean": 90.04 + k, "low": 80.0, "high": 95.5, "n": 113}
        for k in range(rows)
    ]
    values[-1] |= {"mean": None, "low": None, "high": None}
    return Table(name, "Surface metrics", columns, values, "113 instructions; 95% intervals of Wilson.")


def figure(name: str = "surface-by-rate") -> Figure:
    """A figure that has everything that matplotlib writes."""
    return Figure(
        name,
        "Right language by rate",
        "n = 113; 95% intervals.",
        SVG,
        table(f"{name}-data"),
        "One line that rises.",
    )


def small_report() -> Report:
    """Two models, two languages, one modifier; the answers do all that answers do."""
    french = "Les chats dorment beaucoup.\nThe cats sleep all day and all night long.\n\nBlorp, dit Zidane."
    answers = [
        Answer(
            "q1-fr", "model a", "fr", "qa", "", "q1", "Que font les chats ?", french, "stop", "fr",
            {"language_correct": 1.0, "spelling": 0.87654321, "lpr": None}, {"lpr": "abstain: no long line"},
            (UnknownWord("cats", FOREIGN, "en"), UnknownWord("blorp", NONWORD), UnknownWord("Zidane", NAME)),
            (
                Passage("Les chats dorment beaucoup.", "fr"),
                Passage("The cats sleep all day and all night long.", "en"),
            ),
            (Judgment("judge", {"relevance": 1.0}, words="Helpful: <b>yes</b>"),),
        ),
        Answer(
            "q1-fr", "model b", "fr", "qa", "", "q1", "Que font les chats ?", EVIL, "length", "en",
            {"language_correct": 0.0}, {}, (), (), (Judgment(EVIL, {"relevance": None}, "refusal", EVIL),),
        ),
        Answer(
            "q1-en", "model a", "en", "qa", "", "q1", "What do cats do?", "They sleep.", "stop", "en",
            {"language_correct": 1.0},
        ),
        Answer(
            "q1-en", "model b", "en", "qa", "", "q1", "What do cats do?", "", "failed: too long", "",
            {"language_correct": None}, {"language_correct": "failed: no answer"},
        ),
        Answer(
            "q1-en-list", "model a", "en", "qa", "list_n", "q1", "What do cats do? List 2.",
            "1. Eat\n2. Sleep", "stop", "en", {"language_correct": 1.0, "modifier_strict": 1.0},
            disagreement="the judge says no, the program yes",
        ),
        Answer(f"<i>{EVIL}", f"{EVIL}", "zz", EVIL, "", "", EVIL, "x" * 3000, "stop"),
        Answer(
            "100%@b?c#d", "model b", "fr", "email", "", "q2", "Écris un courriel à Zoé.", "Bonjour Zoé", "stop", "fr",
            {"language_correct": 1.0},
        ),
    ]  # fmt: skip
    sections = (
        Section(
            "surface",
            "Language and spelling",
            ("The first paragraph.",),
            (figure("again"),),
            (table(), table("long", 40)),
        ),
        Section("judge", "Helpfulness", ("No judge has read these answers.",)),
    )
    return Report(
        "A study of <cats> & dogs",
        (
            "Which rate is best?", "Model a is best: <script>window.broken = 5</script>.", "It costs 3 points.",
            "The rest is not certain.",
        ),
        figure(), sections, (("revision", "abc123"), ("data", "sha256:<0>")), answers,
        {"model a": "#0072b2", "model b": "#d55e00"}, COLORS,
    )  # fmt: skip
