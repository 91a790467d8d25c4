"""What every section of the configuration shares."""

from collections.abc import Callable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from mailward.errors import ConfigError

MIB = 1024 * 1024
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Minutes = Annotated[float, Field(gt=0, le=1_440)]
Hours = Annotated[float, Field(gt=0, le=8_760)]


class Section(BaseModel):
    """Frozen; a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def checked(text: str, parse: Callable[[str], object]) -> str:
    """``text``, if ``parse`` takes it. Raises ValueError, as pydantic wants it."""
    try:
        parse(text)
    except ConfigError as e:
        raise ValueError(str(e)) from e
    return text
