//! stub until the table helper's lands
/// stub
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HeapString(Vec<u8>);
impl HeapString {
    /// stub
    pub fn new(b: &[u8]) -> Self {
        Self(b.to_vec())
    }
    /// stub
    pub fn extend_from_slice(&mut self, b: &[u8]) {
        self.0.extend_from_slice(b)
    }
    /// stub
    pub fn resize(&mut self, n: usize, b: u8) {
        self.0.resize(n, b)
    }
}
impl std::ops::Deref for HeapString {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}
impl std::ops::DerefMut for HeapString {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
