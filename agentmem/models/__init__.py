"""Chat models and embedders: any provider by "provider:name", local ones by a pinned hash, fakes for tests."""
