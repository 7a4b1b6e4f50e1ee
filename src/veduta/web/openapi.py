"""The bodies that FastAPI cannot read off a signature, for the description of the services."""

from __future__ import annotations

from typing import Any

_BINARY = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
_BASE64 = {
    "type": "object",
    "required": ["content"],
    "properties": {"name": {"type": "string"}, "content": {"type": "string", "contentEncoding": "base64"}},
}
_OPTIONS: dict[str, Any] = {
    "gallery": {"type": "string", "description": "Name of the gallery; all of them unless said."},
    "effort": {"type": "string", "enum": ["fast", "default", "thorough"]},
    "floor": {"type": "number", "minimum": 0, "maximum": 1, "description": "Least confidence of an answer."},
    "precision": {"type": "number", "minimum": 0, "maximum": 1},
    "budget_ms": {"type": "number", "minimum": 0},
    "keypoints": {"type": "boolean"},
}


def _body(form: dict[str, Any], json: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {"type": "object", "required": required, "properties": form},
                },
                "application/json": {
                    "schema": {"type": "object", "required": required, "properties": json},
                },
            },
        }
    }


_FILES, _CONTENTS = {"type": "array", "items": _BINARY}, {"type": "array", "items": _BASE64, "minItems": 1}
_LANDMARK: dict[str, Any] = {
    "landmark": {"type": "string", "minLength": 1, "description": "Id of the landmark."},
    "name": {"type": "string"},
    "latitude": {"type": "number", "minimum": -90, "maximum": 90},
    "longitude": {"type": "number", "minimum": -180, "maximum": 180},
    "url": {"type": "string"},
    "gallery": {"type": "string"},
}
_PAIR: dict[str, Any] = {"reference": {"type": "string"}, "gallery": {"type": "string"}}

FORM_OR_JSON = _body({"photos": _FILES, **_OPTIONS}, {"photos": _CONTENTS, **_OPTIONS}, ["photos"])
VERIFY_FORM = _body(
    {"photo": _BINARY, "other": _BINARY, **_PAIR}, {"photo": _BASE64, "other": _BASE64, **_PAIR}, ["photo"]
)
REFERENCES_FORM = _body({"photos": _FILES, **_LANDMARK}, {"photos": _CONTENTS, **_LANDMARK}, ["photos", "landmark"])
REVIEW_FORM = _body(
    {"photos": _FILES, "gallery": {"type": "string"}}, {"photos": _CONTENTS, "gallery": {"type": "string"}}, ["photos"]
)

_LAT_LNG = {"type": "object", "properties": {"latitude": {"type": "number"}, "longitude": {"type": "number"}}}
VISION_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["requests"],
                    "properties": {
                        "requests": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 16,
                            "items": {
                                "type": "object",
                                "properties": {
                                    "image": {
                                        "type": "object",
                                        "properties": {
                                            "content": {"type": "string", "contentEncoding": "base64"},
                                            "source": {
                                                "type": "object",
                                                "properties": {"imageUri": {"type": "string"}},
                                            },
                                        },
                                    },
                                    "features": {
                                        "type": "array",
                                        "items": {
                                            "type": "object",
                                            "properties": {
                                                "type": {"enum": ["LANDMARK_DETECTION"]},
                                                "maxResults": {"type": "integer"},
                                            },
                                        },
                                    },
                                    "imageContext": {
                                        "type": "object",
                                        "properties": {
                                            "latLongRect": {
                                                "type": "object",
                                                "properties": {"minLatLng": _LAT_LNG, "maxLatLng": _LAT_LNG},
                                            }
                                        },
                                    },
                                },
                            },
                        }
                    },
                }
            }
        },
    }
}
LABELS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "id": {"type": "string"},
                        "images": {"type": "array", "items": {"type": "string", "description": "A data URL."}},
                    },
                }
            }
        },
    }
}
