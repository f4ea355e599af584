"""Languages as users write them, and the codes by which NLLB and M2M100 know them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from xltjax.common.errors import UserError
from xltjax.common.languages import find_language

# ISO 639-1 (or -3 where there is no code of two letters) and the code of FLORES-200 that NLLB means by it. Where NLLB
# has several, this is the standard language in its usual script; the others are given by their own codes, zho_Hant.
FLORES = {
    "af": "afr_Latn", "am": "amh_Ethi", "ar": "arb_Arab", "as": "asm_Beng", "ast": "ast_Latn", "az": "azj_Latn",
    "ba": "bak_Cyrl", "be": "bel_Cyrl", "bg": "bul_Cyrl", "bm": "bam_Latn", "bn": "ben_Beng", "bo": "bod_Tibt",
    "bs": "bos_Latn", "ca": "cat_Latn", "ceb": "ceb_Latn", "ckb": "ckb_Arab", "cs": "ces_Latn", "cy": "cym_Latn",
    "da": "dan_Latn", "de": "deu_Latn", "dz": "dzo_Tibt", "ee": "ewe_Latn", "el": "ell_Grek", "en": "eng_Latn",
    "eo": "epo_Latn", "es": "spa_Latn", "et": "est_Latn", "eu": "eus_Latn", "fa": "pes_Arab", "fi": "fin_Latn",
    "fj": "fij_Latn", "fo": "fao_Latn", "fr": "fra_Latn", "ga": "gle_Latn", "gd": "gla_Latn", "gl": "glg_Latn",
    "gn": "grn_Latn", "gu": "guj_Gujr", "ha": "hau_Latn", "he": "heb_Hebr", "hi": "hin_Deva", "hr": "hrv_Latn",
    "ht": "hat_Latn", "hu": "hun_Latn", "hy": "hye_Armn", "id": "ind_Latn", "ig": "ibo_Latn", "ilo": "ilo_Latn",
    "is": "isl_Latn", "it": "ita_Latn", "ja": "jpn_Jpan", "jv": "jav_Latn", "ka": "kat_Geor", "kg": "kon_Latn",
    "ki": "kik_Latn", "kk": "kaz_Cyrl", "km": "khm_Khmr", "kn": "kan_Knda", "ko": "kor_Hang", "ku": "kmr_Latn",
    "ky": "kir_Cyrl", "lb": "ltz_Latn", "lg": "lug_Latn", "li": "lim_Latn", "ln": "lin_Latn", "lo": "lao_Laoo",
    "lt": "lit_Latn", "lv": "lvs_Latn", "mg": "plt_Latn", "mi": "mri_Latn", "mk": "mkd_Cyrl", "ml": "mal_Mlym",
    "mn": "khk_Cyrl", "mr": "mar_Deva", "ms": "zsm_Latn", "mt": "mlt_Latn", "my": "mya_Mymr", "ne": "npi_Deva",
    "nl": "nld_Latn", "nn": "nno_Latn", "no": "nob_Latn", "ny": "nya_Latn", "oc": "oci_Latn", "om": "gaz_Latn",
    "or": "ory_Orya", "pa": "pan_Guru", "pl": "pol_Latn", "ps": "pbt_Arab", "pt": "por_Latn", "qu": "quy_Latn",
    "rn": "run_Latn", "ro": "ron_Latn", "ru": "rus_Cyrl", "rw": "kin_Latn", "sa": "san_Deva", "sc": "srd_Latn",
    "sd": "snd_Arab", "sg": "sag_Latn", "si": "sin_Sinh", "sk": "slk_Latn", "sl": "slv_Latn", "sm": "smo_Latn",
    "sn": "sna_Latn", "so": "som_Latn", "sq": "als_Latn", "sr": "srp_Cyrl", "ss": "ssw_Latn", "st": "sot_Latn",
    "su": "sun_Latn", "sv": "swe_Latn", "sw": "swh_Latn", "ta": "tam_Taml", "te": "tel_Telu", "tg": "tgk_Cyrl",
    "th": "tha_Thai", "ti": "tir_Ethi", "tk": "tuk_Latn", "tl": "tgl_Latn", "tn": "tsn_Latn", "tr": "tur_Latn",
    "ts": "tso_Latn", "tt": "tat_Cyrl", "ug": "uig_Arab", "uk": "ukr_Cyrl", "ur": "urd_Arab", "uz": "uzn_Latn",
    "vi": "vie_Latn", "wo": "wol_Latn", "xh": "xho_Latn", "yi": "ydd_Hebr", "yo": "yor_Latn", "yue": "yue_Hant",
    "zh": "zho_Hans", "zu": "zul_Latn",
}  # fmt: skip
# Further codes of FLORES-200, by the languages of ISO 639 of which they are a dialect or another script.
FURTHER = {
    "ace_Arab": "ace", "ace_Latn": "ace", "acm_Arab": "ar", "acq_Arab": "ar", "aeb_Arab": "ar", "ajp_Arab": "ar",
    "apc_Arab": "ar", "ars_Arab": "ar", "ary_Arab": "ar", "arz_Arab": "ar", "azb_Arab": "az", "bjn_Arab": "bjn",
    "kas_Arab": "ks", "kas_Deva": "ks", "knc_Arab": "kr", "knc_Latn": "kr", "prs_Arab": "fa", "taq_Tfng": "taq",
    "zho_Hant": "zh",
}  # fmt: skip


@dataclass(frozen=True)
class Language:
    """A language to translate from or to.

    Attributes:
        label: how it is called in names of files: its code of ISO 639, or the code of FLORES-200 that was given.
        iso: its code as all of xltjax uses it, such as ``fr``.
        flores: its code of FLORES-200, by which NLLB knows it; empty when it has none that we know.
        name: its name in English, for prompts.
    """

    label: str
    iso: str
    flores: str
    name: str


def language(given: str) -> Language:
    """The language of a code of ISO 639 (``fr``), of FLORES-200 (``fra_Latn``), a tag (``pt-BR``) or a name.

    Raises:
        UserError: when no such language is known, naming the nearest.
    """
    by_flores = {code: iso for iso, code in FLORES.items()} | FURTHER
    text = given.strip()
    if text in by_flores:
        iso = by_flores[text]
        return Language(iso if FLORES.get(iso) == text else text, iso, text, _name(iso))
    iso = find_language(text) or ""
    stem, _, script = text.partition("_")
    if iso and len(stem) == 3 and len(script) == 4:  # written as a code of FLORES-200
        # NLLB has more languages than the table: its own list decides (``engines.vocabulary``).
        if FLORES.get(iso) is None:
            return Language(text, iso, text, _name(iso))
        iso = ""
    if not text:
        raise UserError("a language is empty; give codes such as fr,pt,ru")
    if not iso:
        raise UserError(
            f"language {given!r} is not known; the nearest code is {_nearest(text, by_flores)!r} "
            "(give codes of ISO 639 such as fr, or of FLORES-200 such as fra_Latn)"
        )
    script = "Hant" if {"hant", "tw", "hk", "mo"} & {*text.lower().replace("_", "-").split("-")[1:]} else ""
    if iso == "zh" and script:
        return Language("zho_Hant", iso, "zho_Hant", _name(iso))
    return Language(iso, iso, FLORES.get(iso, ""), _name(iso))


def _nearest(text: str, by_flores: Mapping[str, str]) -> str:
    """The code that is spelled most like ``text``; of those of FLORES-200, first of all in another script."""
    same = next((code for code in by_flores if text[:4] == code[:4] and text[3:4] == "_"), None)
    return same or difflib.get_close_matches(text, (*FLORES, *by_flores), n=1, cutoff=0.0)[0]


def _name(iso: str) -> str:
    import langcodes

    return str(langcodes.Language.get(iso).display_name("en"))
