"""The side-by-side harness: see benches/compare."""
