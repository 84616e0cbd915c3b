//! Elements of collections as replies.

use crate::data::element::Element;
use crate::resp::reply::Reply;

impl Reply<'_> {
    /// An element of a collection, as a bulk string.
    #[inline]
    pub(crate) fn element(&mut self, element: Element<'_>) {
        match element {
            Element::Int(number) => self.bulk_int(number),
            Element::Bytes(bytes) => self.bulk(bytes),
        }
    }
}
