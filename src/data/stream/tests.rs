//! A stream against a map: every change, every way of reading, clones that stay as they were.

use std::collections::BTreeMap;

use super::*;
use crate::base::env::Rng;
use crate::data::listpack::entry_bytes;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// What a stream should be.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: BTreeMap<StreamId, Fields>,
    counts: Counts,
}

fn id(ms: u64, seq: u64) -> StreamId {
    StreamId { ms, seq }
}

fn words(fields: &Fields) -> Vec<&[u8]> {
    fields.iter().flat_map(|(name, value)| [name.as_slice(), value.as_slice()]).collect()
}

fn read(mut entries: Entries<'_>) -> Vec<(StreamId, Fields)> {
    let mut all = Vec::new();
    while let Some((id, count)) = entries.next_entry() {
        // Fields that nobody reads are passed over.
        if all.len() % 7 == 3 {
            let skipped = std::iter::repeat_n((Vec::new(), Vec::new()), count).collect();
            all.push((id, skipped));
            continue;
        }
        let mut fields = Fields::new();
        while let Some((name, value)) = entries.next_field() {
            fields.push((name.to_vec(), value.to_vec()));
        }
        assert_eq!(fields.len(), count);
        all.push((id, fields));
    }
    all
}

fn expected<'m>(
    entries: impl Iterator<Item = (&'m StreamId, &'m Fields)>,
) -> Vec<(StreamId, Fields)> {
    let blank = |fields: &Fields| fields.iter().map(|_| (Vec::new(), Vec::new())).collect();
    entries
        .enumerate()
        .map(|(index, (id, fields))| {
            (*id, if index % 7 == 3 { blank(fields) } else { fields.clone() })
        })
        .collect()
}

fn random_fields(rng: &mut Rng) -> Fields {
    let count = match rng.below(12) {
        0 => 1 + rng.below(40),
        _ => 1 + rng.below(3),
    };
    (0..count)
        .map(|number| {
            let name = match rng.below(8) {
                0 => rng.below(1000).to_string().into_bytes(),
                _ => format!("field{number}").into_bytes(),
            };
            let value = match rng.below(12) {
                0 => Vec::new(),
                1 => vec![b'v'; rng.below(600) as usize],
                2..=5 => (rng.next_u64() as i64 >> rng.below(64)).to_string().into_bytes(),
                _ => format!("value{}", rng.below(1000)).into_bytes(),
            };
            (name, value)
        })
        .collect()
}

impl Model {
    fn check(&self, stream: &Stream, rng: &mut Rng) {
        stream.check();
        assert_eq!((stream.len(), stream.counts()), (self.entries.len(), self.counts));
        assert_eq!(stream.first_id(), self.entries.keys().next().copied());
        assert_eq!(stream.last_entry_id(), self.entries.keys().next_back().copied());
        let last = self.counts.last_id;
        for _ in 0..4 {
            let (a, b) = (id(rng.below(last.ms + 2), 0), id(rng.below(last.ms + 2), rng.below(9)));
            let inside = || self.entries.iter().filter(|(id, _)| (a..=b).contains(*id));
            assert_eq!(read(stream.range(a, b)), expected(inside()));
            assert_eq!(read(stream.range_back(a, b)), expected(inside().rev()));
        }
        let all = read(stream.range(StreamId::MIN, StreamId::MAX));
        assert_eq!(all, expected(self.entries.iter()));
    }

    /// The same from its nodes, as an RDB has them.
    fn rebuild(&self, stream: &Stream) {
        let mut builder = StreamBuilder::default();
        for (base, pack) in stream.nodes() {
            builder.push(StreamBuilder::check(base, pack.as_bytes()).unwrap()).unwrap();
        }
        let rebuilt = builder.finish(self.counts).unwrap();
        rebuilt.check();
        assert!(rebuilt == *stream);
    }
}

/// One who reads on from a bookmark.
#[derive(Default)]
struct Reader {
    bookmark: Option<Bookmark>,
    behind: StreamId,
}

impl Reader {
    fn read_on(&mut self, stream: &Stream, model: &Model, rng: &mut Rng) {
        let Some(start) = self.behind.next() else { return };
        let mut entries = stream.range_from(self.bookmark, start, StreamId::MAX);
        let mut left = model.entries.range(start..);
        for _ in 0..=rng.below(6) {
            let (found, should) = (entries.next_entry(), left.next());
            assert_eq!(found.map(|(id, _)| id), should.map(|(id, _)| *id));
            let Some((id, fields)) = should else { break };
            // Of some it reads a part only.
            for (name, value) in fields.iter().take(rng.below(4) as usize) {
                let field =
                    entries.next_field().map(|(name, value)| (name.to_vec(), value.to_vec()));
                assert_eq!(field, Some((name.clone(), value.clone())));
            }
            self.behind = *id;
        }
        self.bookmark = entries.bookmark();
    }
}

fn run(seed: u64, thresholds: &Thresholds) {
    let mut rng = Rng::from_seed(seed);
    let (mut stream, mut model) = (Stream::default(), Model::default());
    let mut reader = Reader::default();
    let mut frozen: Vec<(Stream, Model)> = Vec::new();
    for step in 0..12_000_u64 {
        let grows = step % 6_000 < 4_000;
        match rng.below(if grows { 40 } else { 12 }) {
            0..=3 => {
                let gone = match model.entries.keys().nth(rng.below(50) as usize) {
                    Some(one) if rng.below(8) > 0 => *one,
                    _ => id(rng.below(model.counts.last_id.ms + 2), rng.below(4)),
                };
                let there = model.entries.remove(&gone).is_some();
                assert_eq!(stream.contains(gone), there);
                assert_eq!(stream.delete(gone), there);
                if there {
                    model.counts.max_deleted = model.counts.max_deleted.max(gone);
                }
            }
            4 => trim(&mut stream, &mut model, &mut rng),
            5..=6 => reader.read_on(&stream, &model, &mut rng),
            // All goes, and as XSETID may have it the same ids come again: a bookmark means nothing any more.
            7 if rng.below(300) == 0 => {
                let all = TrimTo::Len(0);
                stream.trim(Trim {
                    to: all,
                    roughly: false,
                    limit: 0,
                    references: References::Keep,
                });
                let first = model.entries.keys().next().copied().unwrap_or_default();
                model.entries.clear();
                model.counts.last_id = id(first.ms, 0);
                stream.set_counts(model.counts);
                reader.behind = reader.behind.min(model.counts.last_id);
            }
            _ => {
                let last = model.counts.last_id;
                let next = if rng.below(3) == 0 {
                    id(last.ms + 1 + rng.below(300), rng.below(5))
                } else {
                    last.next().unwrap()
                };
                let fields = random_fields(&mut rng);
                stream.push(next, words(&fields).into_iter(), thresholds).unwrap();
                model.entries.insert(next, fields);
                model.counts.last_id = next;
                model.counts.added += 1;
            }
        }
        if step % 499 == 0 {
            model.check(&stream, &mut rng);
            model.rebuild(&stream);
            frozen.push((stream.freeze(), model.clone()));
        }
    }
    for (stream, model) in &frozen {
        model.check(stream, &mut rng);
    }
}

fn trim(stream: &mut Stream, model: &mut Model, rng: &mut Rng) {
    let len = model.entries.len();
    let keep = len - rng.below((len as u64).min(400) + 1) as usize;
    let first = model.entries.keys().next().copied().unwrap_or_default();
    let to = match rng.below(3) {
        0 => TrimTo::Len(keep),
        1 => TrimTo::From(model.entries.keys().nth(len - keep).copied().unwrap_or(StreamId::MAX)),
        // One that may be deleted.
        _ => TrimTo::From(id(first.ms + rng.below(200), rng.below(4))),
    };
    let keep = match to {
        TrimTo::Len(keep) => keep,
        TrimTo::From(from) => model.entries.range(from..).count(),
    };
    let roughly = rng.below(2) == 0;
    let limit = if roughly && rng.below(2) == 0 { rng.below(300) as usize } else { 0 };
    let trimmed = stream.trim(Trim { to, roughly, limit, references: References::Keep });
    let should = len - keep;
    if roughly {
        assert!(trimmed.count <= should && (limit == 0 || trimmed.count <= limit));
    } else {
        assert_eq!(trimmed.count, should);
    }
    for _ in 0..trimmed.count {
        model.entries.pop_first();
    }
}

#[test]
fn it_is_a_map_of_entries() {
    run(1, &Thresholds::default());
    let small = Thresholds { stream_node_entries: 3, ..Thresholds::default() };
    run(2, &small);
    let tight = Thresholds { stream_node_bytes: 200, ..Thresholds::default() };
    run(3, &tight);
    let wide = Thresholds { stream_node_entries: 1_000, stream_node_bytes: 0, ..small };
    run(4, &wide);
}

#[test]
fn nodes_end_where_the_thresholds_say() {
    let mut stream = Stream::default();
    let thresholds = Thresholds::default();
    for ms in 1..=250 {
        stream.push(id(ms, 0), [&b"a"[..], b"1"].into_iter(), &thresholds).unwrap();
    }
    assert_eq!(stream.node_count(), 3);
    let value = vec![b'x'; 4_200];
    stream.push(id(251, 0), [&b"a"[..], &value].into_iter(), &thresholds).unwrap();
    stream.push(id(252, 0), [&b"a"[..], b"1"].into_iter(), &thresholds).unwrap();
    assert_eq!(stream.node_count(), 5, "an entry larger than a node has one for itself");
    // The tail goes: what was before it takes entries again.
    for ms in 201..=252 {
        assert!(stream.delete(id(ms, 0)));
    }
    assert_eq!(stream.node_count(), 2);
    stream.check();
}

#[test]
fn what_is_wrong_in_a_node_is_found() {
    let mut stream = Stream::default();
    let thresholds = Thresholds::default();
    for ms in 5..8 {
        let name: &[u8] = if ms == 6 { b"b" } else { b"a" };
        stream.push(id(ms, 0), [name, b"1"].into_iter(), &thresholds).unwrap();
    }
    stream.delete(id(6, 0));
    let (base, pack) = stream.nodes().next().unwrap();
    let cells: Vec<Vec<u8>> = pack.iter().map(|cell| cell.to_vec()).collect();
    let check = |cells: &[Vec<u8>]| {
        let mut pack = Listpack::new();
        cells.iter().for_each(|cell| pack.push_back(cell));
        node::from_bytes(base, pack.as_bytes())
    };
    let found = check(&cells).unwrap();
    assert_eq!((found.live, found.ends), (2, Some((id(5, 0), id(7, 0)))));
    let mut builder = StreamBuilder::default();
    assert_eq!(builder.push(found), Ok(()));
    let again = builder.push(check(&cells).unwrap());
    assert_eq!(again, Err(OUT_OF_ORDER), "ids rise from node to node");
    for len in 0..cells.len() {
        assert!(check(&cells[..len]).is_err(), "cut to {len}");
    }
    // Counts, flags and numbers of cells, then ids; the others are fields and values.
    for at in [0, 1, 2, 4, 5, 9, 10, 13, 16, 17, 21, 6, 7, 11, 12, 18, 19] {
        let is_id = [6, 7, 11, 12, 18, 19].contains(&at);
        for wrong in [&b"x"[..], b"", b"-1", b"77"].into_iter().take(if is_id { 2 } else { 4 }) {
            let mut cells = cells.clone();
            cells[at] = wrong.to_vec();
            assert!(check(&cells).is_err(), "cell {at} as {wrong:?}");
        }
    }
    let mut swapped = cells.clone();
    swapped[18] = b"0".to_vec();
    assert!(check(&swapped).is_err(), "ids rise within a node");
    // Flags that take more than a byte would shrink when an entry is marked, and move what follows.
    let flags = 6 + cells[..5].iter().map(|cell| entry_bytes(cell)).sum::<usize>();
    for wide in [&[0x81, b'2', 2][..], &[0xf1, 2, 0, 3]] {
        let mut bytes = pack.as_bytes().to_vec();
        bytes.splice(flags..flags + 2, wide.iter().copied());
        bytes[0] += wide.len() as u8 - 2;
        Listpack::from_bytes(&bytes).unwrap();
        let found = node::from_bytes(base, &bytes).map(|_| ());
        assert_eq!(found, Err(NodeError::Content("unknown flags")));
    }
    // Each single flipped bit gives the listpack's error, a node's error, or a node as it was read.
    let good = pack.as_bytes();
    for bit in 0..good.len() * 8 {
        let mut bad = good.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        match (Listpack::from_bytes(&bad), node::from_bytes(base, &bad)) {
            (Err(error), Err(found)) => assert_eq!(found, NodeError::Listpack(error)),
            (Err(_), Ok(_)) => panic!("bit {bit}"),
            (Ok(_), Err(found)) => assert!(matches!(found, NodeError::Content(_)), "bit {bit}"),
            (Ok(pack), Ok(CheckedNode { node, live, ends })) => {
                assert_eq!(node.pack.as_bytes(), pack.as_bytes());
                assert_eq!((node.len(), Some(node.last_id())), (live, ends.map(|ends| ends.1)));
            }
        }
    }
}

#[test]
fn groups_tell_what_is_pending() {
    let mut rng = Rng::from_seed(7);
    let mut stream = Stream::default();
    assert!(stream.add_group(b"g", Group::new(StreamId::MIN, Some(0))));
    assert!(!stream.add_group(b"g", Group::default()));
    let mut model: BTreeMap<StreamId, (usize, i64, u32)> = BTreeMap::new();
    let names = [&b"b"[..], b"a", b"c", b"zz"];
    let mut few = 0;
    for step in 0..30_000_i64 {
        let one = id(rng.below(2_000), 0);
        // The last one has little, so that it is taken out by its ids and not by a walk over all.
        let who = rng.below(300).checked_sub(1).map_or(3, |number| number as usize % 3);
        let grows = step % 10_000 < 6_000;
        stream.edit_group(b"g", |group| match rng.below(10) {
            0 if step % 300 == 0 => {
                let who = rng.below(4) as usize;
                let has = model.values().filter(|(owner, ..)| *owner == who).count();
                few += usize::from(has > 0 && has * 64 < model.len());
                let gone = group.remove_consumer(names[who]);
                assert!(gone.is_none_or(|gone| gone == has));
                model.retain(|_, (owner, ..)| *owner != who);
            }
            1..=2 => {
                let there = model.get_mut(&one).map(|(_, at, count)| {
                    (*at, *count) = (step, *count + 1);
                });
                assert_eq!(group.deliver_again(one, step), there.is_some());
            }
            3..=7 if grows => {
                let (consumer, _) = group.ensure(names[who], step);
                group.put(Pending { id: one, delivered_ms: step, deliveries: 1, consumer });
                model.insert(one, (who, step, 1));
            }
            _ => assert_eq!(group.acknowledge(one), model.remove(&one).is_some()),
        });
        if step % 1_000 == 999 {
            stream.check();
            let group = stream.group(b"g").unwrap();
            assert!(group.consumers().map(|(name, _)| name).is_sorted());
            let all = group.names();
            let found = group.pending_from(StreamId::MIN).map(|pending| {
                let name = pending.consumer.name_in(&all);
                (pending.id, (name, pending.delivered_ms, pending.deliveries))
            });
            let should = model.iter().map(|(id, (who, at, n))| (*id, (names[*who], *at, *n)));
            assert!(found.eq(should));
        }
    }
    assert!(few > 0);
}

/// XSETID can take the last id back behind an entry that was deleted. What was added then lay behind it
/// in the same node: it wasn't found by its id, and what DUMP made of the stream wasn't taken.
#[test]
fn ids_rise_again_where_the_last_id_goes_back() {
    let thresholds = Thresholds::default();
    let mut stream = Stream::default();
    let add = |stream: &mut Stream, ms, words: &[&[u8]]| {
        stream.push(id(ms, 0), words.iter().copied(), &thresholds).unwrap();
    };
    for ms in [1, 2, 3, 5, 7] {
        add(&mut stream, ms, &[b"field", b"12345", if ms == 3 { b"other" } else { b"same" }, b"v"]);
    }
    for ms in [2, 5, 7] {
        assert!(stream.delete(id(ms, 0)));
    }
    let kept = stream.clone();
    let back = Counts { last_id: id(3, 0), max_deleted: id(1, 0), ..stream.counts() };
    stream.set_counts(back);
    stream.check();
    add(&mut stream, 4, &[b"field", b"x"]);
    stream.check();
    assert!(stream.contains(id(4, 0)) && !stream.contains(id(5, 0)));
    let ids: Vec<_> = read(stream.range(StreamId::MIN, StreamId::MAX));
    let whole: Vec<_> = read(kept.range(StreamId::MIN, StreamId::MAX));
    assert_eq!((ids.len(), &ids[..2], ids[2].0), (3, &whole[..], id(4, 0)));
    // A file may tell of such a stream before anything was added.
    let mut builder = StreamBuilder::default();
    for (base, pack) in kept.nodes() {
        builder.push(StreamBuilder::check(base, pack.as_bytes()).unwrap()).unwrap();
    }
    let mut loaded = builder.finish(back).unwrap();
    add(&mut loaded, 4, &[b"field", b"x"]);
    assert_eq!(loaded, stream);
    assert!(stream.delete(id(4, 0)));
}
