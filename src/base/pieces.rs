//! Writing something long in pieces, so that it never stands in memory as a whole.

/// Bytes after which a piece is handed over.
const PIECE_BYTES: usize = 64 << 10;

/// Takes a piece, and says whether the next is wanted.
pub(crate) type PieceSink<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

/// Is given what has been written so far, takes it away where that is much, and says whether to go on.
pub(crate) type Full<'a> = &'a mut dyn FnMut(&mut Vec<u8>) -> bool;

/// Hands what `write` writes to `sink` piece by piece, for as long as that says to go on.
pub(crate) fn in_pieces(sink: PieceSink<'_>, write: impl FnOnce(&mut Vec<u8>, Full<'_>)) {
    let mut out = Vec::with_capacity(PIECE_BYTES + 4096);
    let mut goes_on = true;
    write(&mut out, &mut |out| {
        if out.len() >= PIECE_BYTES {
            goes_on = sink(out);
            out.clear();
        }
        goes_on
    });
    if goes_on {
        sink(&out);
    }
}
