"""Which editions of a project's states there are, and what is being done with them."""

from typing import Literal, Self

import msgspec

from data.errors import StateError

__all__ = ["Edition", "Stage", "Standing", "live_edition"]

Stage = Literal["settled", "building", "following", "switched", "dropping"]
"""The stage of the other edition: there is none; it is made from the log; workers fold into it too; it was live before,
and they still do; it is being deleted."""


class Edition(msgspec.Struct, frozen=True):
    """States made by one plan, which is named by its hash. The first edition of a project has no `id`."""

    id: str = ""
    plan: str = ""

    def space(self, project: str) -> str:
        """Return the name that takes the project's place in the edition's keys."""
        return f"{project}@{self.id}" if self.id else project


class Standing(msgspec.Struct, frozen=True):
    """The edition that answers (`live`), and the `other` one, if there is one, with the stage that it is in.

    `since_us` is when the live edition became that, UTC µs; 0 where it always was.
    """

    live: Edition
    other: Edition | None = None
    stage: Stage = "settled"
    since_us: int = 0

    @property
    def followed(self) -> Edition | None:
        """The edition that workers fold into beside the live one; None for one of an older Encore, without a plan."""
        followed = self.stage in {"following", "switched"} and self.other is not None and self.other.plan
        return self.other if followed else None

    def encode(self) -> bytes:
        """Encode as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decode a standing. Raises StateError for other bytes."""
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise StateError(
                f"Redis: what it says of the editions of states cannot be read ({error}); run `encore rebuild`"
            ) from error


def live_edition(encoded: bytes) -> Edition | None:
    """Return the edition that answers, given how the editions stand as it is stored (empty: nothing is).

    None where no edition is recorded, or one of an older Encore, without a plan. Raises StateError.
    """
    live = Standing.decode(encoded).live if encoded else None
    return live if live is not None and live.plan else None
