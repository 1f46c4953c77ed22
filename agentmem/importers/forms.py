"""The layouts of other programs: their messages as role, content and at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agentmem.errors import SessionError


def called(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


_LANGCHAIN_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "tool",
                    "chat": None}  # fmt: skip


def langchain(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """A message of `messages_to_dict` or of `dumps`, as role and content; None when it is neither."""
    if isinstance(value.get("data"), Mapping) and "type" in value:
        fields = {"type": value["type"], **value["data"]}
    elif value.get("lc") == 1 and isinstance(value.get("kwargs"), Mapping) and isinstance(value.get("id"), list):
        kind = str(value["id"][-1]).removesuffix("Chunk").removesuffix("Message").lower()
        fields = {"type": kind, **value["kwargs"]}
    else:
        return None
    kind = str(fields["type"]).removesuffix("MessageChunk").lower()
    return {**fields, "role": _LANGCHAIN_ROLES.get(kind) or fields.get("role", fields["type"])}


def chatgpt(conversation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The branch of the tree that the user last saw, without tool calls and hidden messages."""
    nodes = conversation["mapping"]
    here = conversation.get("current_node") or next(reversed(nodes), None)
    branch = []
    while isinstance(nodes.get(here), Mapping) and len(branch) <= len(nodes):
        branch.append(nodes[here].get("message"))
        here = nodes[here].get("parent")
    return [message for message in map(_chatgpt_message, reversed(branch)) if message]


def _chatgpt_message(message: Any) -> dict[str, Any] | None:
    if not isinstance(message, Mapping):
        return None
    role = (message.get("author") or {}).get("role")
    content = message.get("content") or {}
    hidden = (message.get("metadata") or {}).get("is_visually_hidden_from_conversation")
    spoken = content.get("content_type") in ("text", "multimodal_text") and message.get("recipient", "all") == "all"
    text = _joined(content.get("parts") or [])
    if role not in ("user", "assistant") or hidden or not spoken or not text:
        return None
    return {"role": role, "content": text, "at": message.get("create_time")}


def claude(messages: list[Any]) -> list[Any]:
    """Attachments are left out: they are not the user's own words."""
    read = []
    for message in messages:
        if not isinstance(message, Mapping):
            raise SessionError(f"message {len(read) + 1}: is {called(message)}, not a message")
        blocks = [block for block in message.get("content") or () if isinstance(block, Mapping)]
        text = _joined(block for block in blocks if block.get("type") == "text") or message.get("text")
        if text:
            read.append({"role": message.get("sender"), "content": text, "at": message.get("created_at")})
    return read


def _joined(parts: Iterable[Any]) -> str:
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    return "\n".join(text for text in texts if isinstance(text, str) and text)
