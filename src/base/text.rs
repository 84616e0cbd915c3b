//! stub until the base helper's lands
/// stub
pub fn parse_i64(b: &[u8]) -> Option<i64> {
    let s = std::str::from_utf8(b).ok()?;
    let n: i64 = s.parse().ok()?;
    (n.to_string() == s).then_some(n)
}
/// stub
pub fn push_i64(o: &mut Vec<u8>, n: i64) {
    o.extend_from_slice(itoa::Buffer::new().format(n).as_bytes())
}
/// stub
pub fn push_u64(o: &mut Vec<u8>, n: u64) {
    o.extend_from_slice(itoa::Buffer::new().format(n).as_bytes())
}
/// stub
pub fn push_f64(o: &mut Vec<u8>, n: f64) {
    o.extend_from_slice(n.to_string().as_bytes())
}
/// stub
#[derive(Debug)]
pub struct Unbalanced;
/// stub
pub fn split_arguments(b: &[u8]) -> Result<Vec<Vec<u8>>, Unbalanced> {
    Ok(b.split(|c| *c == b' ').filter(|w| !w.is_empty()).map(|w| w.to_vec()).collect())
}
/// stub
pub fn glob(p: &[u8], t: &[u8], _i: bool) -> bool { p == b"*" || p.eq_ignore_ascii_case(t) }
/// stub
pub fn parse_memory(b: &[u8]) -> Option<u64> { let s = std::str::from_utf8(b).ok()?.to_ascii_lowercase(); for (u, m) in [("kb", 1024), ("mb", 1 << 20), ("gb", 1 << 30), ("k", 1000), ("m", 1_000_000), ("g", 1_000_000_000), ("b", 1), ("", 1)] { if let Some(n) = s.strip_suffix(u) { if let Ok(n) = n.parse::<u64>() { return Some(n * m); } } } None }
