//! On-disk formats of md: bytes to types and back, exactly. See `docs/formats`.
