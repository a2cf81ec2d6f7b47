"""What all models of JSON files share: no key beside the known ones, and the one way in which they are written."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from coc_cli.files.checksum import sealed

T = TypeVar("T")
ADDED = "added"
Added = Annotated[T, ADDED]  # a key that older files of the same schema number lack; readers do not miss it
Number = Annotated[int | float, WithJsonSchema({"type": "number"})]  # an integer is written as one
Interval = tuple[float, float]  # low, high
Count = Annotated[int, Field(ge=0)]


class JsonPart(BaseModel):
    """A mapping in a JSON file."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


def as_data(part: JsonPart) -> dict[str, Any]:
    """Return a part as plain data; a key that was never given is absent, one that was given as None is null."""
    return part.model_dump(mode="json", by_alias=True, exclude_unset=True)


def as_json(part: JsonPart, *, indent: int | None = None) -> str:
    """Return a part as the text of a JSON file, or as one line of it where there is no `indent`."""
    return json.dumps(as_data(part), indent=indent)


def as_file(part: JsonPart, *, indent: int | None = None) -> bytes:
    """Return a part as the content of a JSON file, with a checksum of its own at the end."""
    return json.dumps(sealed(as_data(part)), indent=indent).encode()


def json_schema(model: type[JsonPart]) -> dict[str, Any]:
    """Return the JSON Schema of a file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
