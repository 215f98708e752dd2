"""Currency codes of ISO 4217 and their parser."""

from __future__ import annotations

import re

from app.domain.errors import Code, InvalidInput

_CURRENCY = re.compile(r"[A-Z]{3}")


def parse_currency(raw: object, *path: str) -> str:
    """Return the code unchanged: three capital letters of ISO 4217. Raises InvalidInput: UNKNOWN."""
    if not isinstance(raw, str) or not _CURRENCY.fullmatch(raw) or raw not in CURRENCIES:
        name = str(raw)[:20]
        # Nothing costlier than this: a batch of events may have 1,000 wrong codes.
        capital = name.strip().upper()
        advice = (
            f"Did you mean '{capital}'?" if capital in CURRENCIES else 'Give a code of ISO 4217, for example "EUR".'
        )
        raise InvalidInput(Code.UNKNOWN, f'"{name}" is no currency. {advice}', *path)
    return raw


CURRENCIES = frozenset(
    """AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF
    CHE CHF CHW CLF CLP CNY COP COU CRC CUC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD
    GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP
    LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN
    PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS
    TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XAG XAU XBA XBB XBC XBD XCD
    XDR XOF XPD XPF XPT XSU XTS XUA XXX YER ZAR ZMW ZWL XCG""".split()
)
"""The codes of ISO 4217. Codes withdrawn since 2015 are included, because past events carry them."""

_MINOR_UNITS = (
    dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0)
    | dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3)
    | dict.fromkeys("CLF UYW".split(), 4)
)
_WITHOUT_MINOR_UNITS = frozenset("XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA XXX".split())


def minor_units(currency: str) -> int | None:
    """Return the decimal places of a currency by ISO 4217: 2 for EUR, 0 for JPY, 3 for BHD.

    Return None for precious metals and the like, for which ISO 4217 defines none.
    """
    return None if currency in _WITHOUT_MINOR_UNITS else _MINOR_UNITS.get(currency, 2)
