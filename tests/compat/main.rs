//! redis-compat.md says what the tables say.

mod render;

use std::path::Path;

#[test]
fn redis_compat_md_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("redis-compat.md");
    let wanted = render::render();
    if std::env::var_os("REGENERATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = present.lines().zip(wanted.lines()).position(|(old, new)| old != new);
    assert!(
        present == wanted,
        "redis-compat.md is stale from line {} on: REGENERATE=1 cargo test --test compat",
        differing.map_or(present.lines().count().min(wanted.lines().count()), |line| line) + 1
    );
}
