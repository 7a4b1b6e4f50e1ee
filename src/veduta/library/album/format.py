"""The wording of the album: dates, places, confidences; and text that HTML can hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from veduta.files import utf8
from veduta.gallery.evidence.page import confidence_phrase
from veduta.library.metadata.keywords import xml_text
from veduta.library.model import Label

SURELY = 0.99  # above it no percent is written: 100% would be a lie


def in_page(value: str) -> str:
    r"""Return text whose characters a page can hold: the others are written out or left out.

    >>> in_page("a\0b")
    'ab'
    """
    return xml_text(utf8(value))


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Return a count with its noun.

    >>> plural(1, "photo"), plural(1200, "photo"), plural(2, "country", "countries")
    ('1 photo', '1,200 photos', '2 countries')
    """
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def percent(confidence: float) -> str:
    """Return a probability as a reader takes it, never a round 0 or 100.

    >>> percent(0.999), percent(0.734), percent(0.001)
    ('over 99%', '73%', 'under 1%')
    """
    if confidence > SURELY:
        return "over 99%"
    return f"{confidence:.0%}" if confidence >= 0.01 else "under 1%"


def sureness(label: Label) -> str:
    """Return the confidence of a photo's label in words."""
    if label.by == "person":
        return "confirmed by you"
    return f"{confidence_phrase(label.confidence)}, {percent(label.confidence)}"


def overall_sureness(labels: Sequence[Label]) -> str:
    """Return the confidence of several photos' labels in words: those a person confirmed, the range of the others."""
    answered = sorted((label for label in labels if label.by != "person"), key=lambda label: label.confidence)
    num_confirmed = len(labels) - len(answered)
    parts = (
        [
            f"{'all ' if num_confirmed > 1 else ''}confirmed by you"
            if not answered
            else f"{num_confirmed} confirmed by you"
        ]
        if num_confirmed
        else []
    )
    if answered:
        parts.append(_range(answered[0].confidence, answered[-1].confidence))
    return "; ".join(parts)


def _range(least: float, most: float) -> str:
    """Return how sure answers are, the words once where they are the same."""
    low, high = percent(least), percent(most)
    if confidence_phrase(least) == confidence_phrase(most):
        return f"{confidence_phrase(most)}, {high}" if low == high else f"{confidence_phrase(most)}, {low} to {high}"
    return f"{confidence_phrase(least)} ({low}) to {confidence_phrase(most)} ({high})"


def day(moment: datetime) -> str:
    """Return a day, such as 3 June 2024."""
    return f"{moment.day} {moment:%B} {moment.year}"


def period(first: datetime | None, last: datetime | None) -> str:
    """Return the days from one to another as short as they can be told, or nothing where they are not known.

    >>> period(datetime(2024, 6, 3), datetime(2024, 6, 9)), period(datetime(2024, 6, 3), datetime(2024, 8, 9))
    ('3–9 June 2024', '3 June – 9 August 2024')
    """
    if first is None or last is None:
        return ""
    if first.date() == last.date():
        return day(last)
    if first.year != last.year:
        return f"{day(first)} – {day(last)}"
    if first.month != last.month:
        return f"{first.day} {first:%B} – {day(last)}"
    return f"{first.day}–{day(last)}"


def degrees(position: tuple[float, float]) -> str:
    """Return a position to ten metres.

    >>> degrees((45.43791, -12.3359))
    '45.4379° N, 12.3359° W'
    """
    north, east = position
    return f"{abs(north):.4f}° {'N' if north >= 0 else 'S'}, {abs(east):.4f}° {'E' if east >= 0 else 'W'}"
