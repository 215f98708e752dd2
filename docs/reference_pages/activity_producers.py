"""Table of the activity types: who does what, so that an activity of the type appears."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain import activities
from app.domain.activities import MESSAGE_TYPES, category_of
from app.domain.events.events import CONSENT_GIVEN, CONSENT_REVOKED

from .markdown import code, table
from .payload_schema import DATA

_SENT = "A message is sent: `sendMessage`, `broadcastMessage` or the effect `sendMessage` of a rule, over a channel {}."
_FAILED = "Such a message is not sent: refused, given up, or suppressed for want of consent or address."
_ROUTES: Mapping[str, str] = {
    "email": "with the provider `SMTP`",
    "sms": "of the kind `SMS` with the provider `HTTP`",
    "push": "of the kind `PUSH` with the provider `HTTP`",
    "http": "of the kind `HTTP`",
    "braze": "with the provider `BRAZE`",
    "mailchimp": "with the provider `MAILCHIMP`",
    "intercom": "with the provider `INTERCOM`",
    "activecampaign": "with the provider `ACTIVECAMPAIGN`",
}
_TIERS: Mapping[str, str] = {
    "JOINED": "A customer without a tier reaches one, by an event or by `setTierProgram`.",
    "UPGRADED": "A customer reaches a higher tier.",
    "PROLONGED": "The period of a tier ends, and the customer still keeps it.",
    "DOWNGRADED": "The period of a tier ends, and the customer keeps only a lower one.",
    "LEFT": "The period of a tier ends, and the customer keeps none.",
}
PRODUCERS: Mapping[str, str] = {
    activities.CREATED: "A client creates a pass: `createPass`, `createPasses`, or an event with `createMissingPasses`.",
    activities.CONFIRMED: "A client calls `confirmPass`, once for each pass.",
    activities.REFERRED: "A client calls `recordReferral`. The activity is on the pass of the customer who joined.",
    activities.UPDATED: "A client calls `updatePass`, changes a field or removes an event; or a rule changes the pass.",
    activities.DELETED: "A client erases the pass with `erasePass`, or merges it into another one with `mergePasses`.",
    activities.CUSTOM_EVENT: "A client records an event without a type of activity of its own; or a rule makes one.",
    activities.EVENT_DECLINED: "The balance does not suffice for a transfer, gift spending or an event with `guard`.",
    activities.ENTERED: "An event, the time, a change of the segment or of its list makes the customer a member.",
    activities.LEFT: "The same ends the membership.",
    activities.REDEEMED: "A client calls `redeemReward`, a rule gives a reward, or a client records a `redemption`.",
    activities.REDEMPTION_FAILED: "A redemption is declined: `data.reasons` says why.",
    activities.ROLLED_BACK: "A client calls `rollbackRedemption`.",
    activities.ROLLBACK_FAILED: "A client rolls back a redemption that was declined.",
    activities.CODE_ISSUED: "A redemption succeeds of a reward that has a `code`.",
    activities.CODE_NOT_ISSUED: "A redemption of such a reward is declined.",
    activities.REWARDED: "A rule with the effect `issueReward` fires, and the redemption succeeds.",
    activities.REWARDED_POINTS: "A rule with the effect `awardPoints` fires.",
    activities.POINTS_ADDED: "An event with positive points counts, a rule awards points, or pending points mature.",
    activities.POINTS_PENDING: "A rule with `pendingDays` awards points.",
    activities.POINTS_EXPIRED: "The end of points comes.",
    activities.TRANSFERRED: "A client calls `transferPoints`: one activity on each pass, one more if points go back.",
    activities.GIFT_BALANCE_ADDED: "A client records `gift_balance_added` on a pass of the kind `GIFT_CARD`.",
    activities.RULE_WAS_FIRED: "A rule fires. Only a filter that names the type shows it.",
    activities.CONSENTS[CONSENT_GIVEN]: "A client calls `recordConsent` with `given: true`.",
    activities.CONSENTS[
        CONSENT_REVOKED
    ]: "The same with `given: false`, or the customer follows the link in a message.",
    **{activities.TIER_CHANGES[change]: text for change, text in _TIERS.items()},
    activities.LOYALTY_UPDATED: "The tier or the end of its period changes: beside each of the five activities above.",
    **{
        kind: _SENT.format(_ROUTES[kind.split(".")[1]]) if kind.endswith(".sent") else _FAILED
        for kind in sorted(MESSAGE_TYPES, key=lambda kind: (kind.split(".")[1], kind.endswith(".failed")))
    },
}
"""For each type: who does what."""


def producers() -> str:
    """Return the table of all types."""
    rows = ((code(kind), category_of(kind), text, _snapshots(kind)) for kind, text in PRODUCERS.items())
    return table(("type", "category", "who does what", "`data`"), rows)


def _snapshots(kind: str) -> str:
    """Return the members of `data` that the forms of a type have, without those that every activity has."""
    names = dict.fromkeys(name for form in DATA[kind] for name in form["properties"])
    return ", ".join(code(name) for name in names if name not in ("customer", "campaign"))
