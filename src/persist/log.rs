//! stub
/// stub
#[derive(Debug)]
pub struct Log;
/// stub
#[derive(Debug, thiserror::Error)]
#[error("stub")]
pub struct LogError;
#[expect(missing_docs, reason = "stub")]
impl Log {
    pub fn append(&mut self, _db: u32, _record: &[u8]) {}
    pub fn append_unit<'a>(&mut self, _records: impl Iterator<Item = (u32, &'a [u8])>) {}
    pub fn commit(&mut self) -> Result<u64, LogError> {
        Ok(0)
    }
    pub fn offset(&self) -> u64 {
        0
    }
    pub fn durable(&self) -> u64 {
        0
    }
    pub fn gates_replies(&self) -> bool {
        false
    }
    pub fn failure(&self) -> Option<&str> {
        None
    }
    pub fn poll(&mut self, _now_nanos: u64) {}
}
