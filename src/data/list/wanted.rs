//! Looking for an element by its value. A node whose bytes don't contain the element's is passed over
//! without looking at its elements one by one.

use memchr::memmem::Finder;

use crate::data::element::Element;
use crate::data::list::End;
use crate::data::list::node::Node;
use crate::data::list::nodes::Nodes;
use crate::data::listpack::Listpack;

/// The element that is looked for.
pub(super) struct Wanted<'a> {
    /// In its densest form.
    element: Element<'a>,
    /// Finds the bytes of an element that isn't a number: as such they lie in a listpack.
    finder: Option<Finder<'a>>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let element = Element::of(bytes);
        let finder = matches!(element, Element::Bytes(_)).then(|| Finder::new(bytes));
        Self { element, finder }
    }

    /// Whether an element as it is stored is the wanted one.
    #[inline]
    fn is(&self, found: Element<'_>) -> bool {
        match (found, self.element) {
            (Element::Int(found), Element::Int(wanted)) => found == wanted,
            (Element::Bytes(found), Element::Bytes(wanted)) => found == wanted,
            // Large elements aren't looked at for integers, and others may come from elsewhere.
            (Element::Bytes(found), wanted @ Element::Int(_)) => wanted.is(found),
            (Element::Int(_), Element::Bytes(_)) => false,
        }
    }

    /// The indices in a node of up to `most` elements that are the wanted one, ascending; where there
    /// are more, those nearest to the end.
    pub(super) fn in_node(&self, node: &Node, most: usize, from: End) -> Vec<usize> {
        match node {
            Node::Plain(bytes) if self.is(Element::Bytes(bytes)) => vec![0],
            Node::Plain(_) => Vec::new(),
            Node::Pack { pack, .. } => self.in_pack(pack, most, from),
        }
    }

    /// As [`Wanted::in_node`].
    pub(super) fn in_pack(&self, pack: &Listpack, most: usize, from: End) -> Vec<usize> {
        let absent = |finder: &Finder<'_>| finder.find(pack.as_bytes()).is_none();
        if self.finder.as_ref().is_some_and(absent) {
            return Vec::new();
        }
        let all = Listpack::iter(pack).enumerate().filter(|(_, found)| self.is(*found));
        let mut indices: Vec<usize> = match from {
            End::Front => all.map(|(index, _)| index).take(most).collect(),
            End::Back => all.map(|(index, _)| index).collect(),
        };
        let surplus = indices.len().saturating_sub(most);
        indices.drain(..surplus);
        indices
    }
}

/// How far from an end on the elements are that are the wanted one, in order, among the first `within`
/// from there, or a few more.
pub(super) fn distances<'a>(
    nodes: &'a Nodes,
    wanted: Wanted<'a>,
    from: End,
    within: usize,
) -> impl Iterator<Item = usize> + use<'a> {
    let mut passed = 0;
    let walk = std::iter::successors(nodes.end(from), move |at| match from {
        End::Front => nodes.after(*at),
        End::Back => nodes.before(*at),
    });
    let counted = walk.map_while(move |at| {
        let (node, start) = (nodes.node(at), passed);
        passed += node.count();
        (start < within).then_some((node, start))
    });
    counted.flat_map(move |(node, start)| {
        let found = wanted.in_node(node, usize::MAX, from);
        in_order(found, node.count(), from).into_iter().map(move |index| start + index)
    })
}

/// Indices among `count` elements, counted from an end and ascending.
pub(super) fn in_order(mut indices: Vec<usize>, count: usize, from: End) -> Vec<usize> {
    if from == End::Back {
        indices.reverse();
        for index in &mut indices {
            *index = count - 1 - *index;
        }
    }
    indices
}
