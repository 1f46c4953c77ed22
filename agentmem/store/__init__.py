"""The memory of a user in Markdown files: atomic, locked, journalled, merged with edits by hand."""

from agentmem.store.files import check_user
from agentmem.store.store import MemoryStore, users
from agentmem.store.values import Applied, Change, Forgotten, Refusal, Snapshot

__all__ = ["Applied", "Change", "Forgotten", "MemoryStore", "Refusal", "Snapshot", "check_user", "users"]
