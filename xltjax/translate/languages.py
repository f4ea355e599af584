"""Languages as users write them, and the codes by which NLLB and M2M100 know them."""

from __future__ import annotations

import difflib
import re
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

_FLORES_CODE = re.compile("[a-z]{3}_[a-z]{4}", re.IGNORECASE)


@dataclass(frozen=True)
class Language:
    """A language to translate from or to.

    Attributes:
        label: how it is called in names of files: its code of ISO 639, or the code of FLORES-200 that was given.
        iso: its code as all of xltjax uses it, such as ``fr``.
        flores: its code of FLORES-200, by which NLLB knows it; empty when it has none that we know.
        tag: its tag of BCP 47, with the region or script that was given, for servers: ``pt-BR``, ``zh-Hant``.
    """

    label: str
    iso: str
    flores: str
    tag: str

    @property
    def name(self) -> str:
        """Its name in English, for prompts, such as ``Portuguese (Brazil)``."""
        return _name(self.tag)


def language(given: str) -> Language:
    """The language of a code of ISO 639 (``fr``), of FLORES-200 (``fra_Latn``), a tag (``pt-BR``) or a name.

    Raises:
        UserError: when no such language is known, naming the nearest.
    """
    by_flores = {code: iso for iso, code in FLORES.items()} | FURTHER
    text = given.strip()
    if not text:
        raise UserError("a language is empty; give codes such as fr,pt,ru")
    if _FLORES_CODE.fullmatch(text):  # in any case
        text = text[:4].lower() + text[4:].title()
    if text in by_flores:
        return _of_flores(text, by_flores[text])
    iso = find_language(text) or ""
    if iso and _FLORES_CODE.fullmatch(text):
        # NLLB has more languages than the table: its own list decides (``engines.vocabulary``).
        if FLORES.get(iso) is None:
            return Language(text, iso, text, iso)
        iso = ""
    if iso:
        script, usual, region = _tag(text)
        codes = [code for code in (FLORES.get(iso, ""), *FURTHER) if by_flores.get(code) == iso]
        wanted = next((code for code in codes if code[4:] in (script, usual)), "")
        if wanted in FURTHER:
            return _of_flores(wanted, iso)
        if wanted or not script or not codes:
            return Language(iso, iso, FLORES.get(iso, ""), f"{iso}-{region}" if region else iso)
    raise UserError(
        f"language {given!r} is not known; the nearest code is {_nearest(text, iso, by_flores)!r} "
        "(give codes of ISO 639 such as fr, or of FLORES-200 such as fra_Latn)"
    )


def _of_flores(code: str, iso: str) -> Language:
    import langcodes

    if FLORES.get(iso) == code:
        return Language(iso, iso, code, iso)
    return Language(code, iso, code, langcodes.standardize_tag(code))


def _tag(text: str) -> tuple[str, str, str]:
    """What a tag or a name says besides its language: the script, the usual script of the region, and the region."""
    import langcodes

    try:
        tag = langcodes.Language.get(text.split(".")[0].replace("_", "-"))
    except ValueError:
        try:
            tag = langcodes.find(text)
        except LookupError:
            return "", "", ""
    usual = tag.maximize().script if tag.territory else None
    return tag.script or "", usual or "", tag.territory or ""


def _nearest(text: str, iso: str, by_flores: Mapping[str, str]) -> str:
    """The code of a language in another script, of a country (``jp``), or of the name or code spelled most alike."""
    import langcodes

    same = next((code for code in by_flores if text[:4] == code[:4] and text[3:4] == "_"), None)
    if same or iso:
        return same or FLORES[iso]
    if len(text) == 2 and langcodes.Language.make(territory=text.upper()).is_valid():
        spoken = find_language(str(langcodes.Language.make(territory=text.upper()).maximize().language))
        if spoken in FLORES and spoken != "en":  # which is also guessed for countries that there are not
            return str(spoken)
    names = {_name(code): code for code in FLORES}
    found = difflib.get_close_matches(text.capitalize(), names, n=1)
    return (
        names[found[0]]
        if found
        else difflib.get_close_matches(text, (*FLORES, *by_flores), n=1, cutoff=0.0)[0]
    )


def _name(tag: str) -> str:
    import langcodes

    return str(langcodes.Language.get(tag).display_name("en"))
