//! Where in the stream the data is that recovery has replayed so far ([`crate::journal`]).
//!
//! It begins with what the manifest or the snapshot's fields say of the base, and goes on from frame to
//! frame. Frames of the earlier form and commands without frames say nothing: behind them it is unknown,
//! until a frame names its history.

use crate::journal::{self, ReplicationId, StreamPosition};
use crate::persist::scan::Scanner;

/// The place, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct StreamPlace {
    position: Option<StreamPosition>,
    /// The fields of a snapshot that have come.
    id: Option<ReplicationId>,
    offset: Option<u64>,
}

impl StreamPlace {
    /// What the manifest says of the base.
    pub(crate) fn of_base(position: Option<StreamPosition>) -> Self {
        Self { position, ..Self::default() }
    }

    pub(crate) fn position(&self) -> Option<StreamPosition> {
        self.position
    }

    /// A field of a snapshot.
    pub(crate) fn note_field(&mut self, key: &[u8], value: &[u8]) {
        match key {
            b"repl-id" => self.id = ReplicationId::parse(value),
            b"repl-offset" => self.offset = journal::parse_offset(value),
            _ => return,
        }
        if let (Some(id), Some(offset)) = (self.id, self.offset) {
            self.position = Some(StreamPosition { id, offset });
        }
    }

    /// Goes behind the frame that was read last; `told` is the history that it names.
    ///
    /// # Errors
    /// It doesn't begin where the one before it ended, which only a bug of ours can leave. The data is
    /// right all the same, but no replica may go on from there: the place is unknown then.
    pub(crate) fn pass_frame(
        &mut self,
        scanner: &Scanner,
        told: Option<ReplicationId>,
    ) -> Result<(), String> {
        let before = self.position.take();
        let Some(place) = scanner.place() else { return Ok(()) };
        let units = scanner.payload().len() as u64 - place.uncounted;
        let id = told.or(before.map(|before| before.id));
        if let Some(before) = before {
            let skipped = place.skipped.stream_bytes();
            let expected = skipped.and_then(|skipped| before.offset.checked_add(skipped));
            if expected != Some(place.offset) {
                return Err(format!(
                    "A frame says that the stream is at {}, and behind the one before it is at {}",
                    place.offset, before.offset
                ));
            }
        }
        let offset = place.offset.checked_add(units);
        self.position = id.zip(offset).map(|(id, offset)| StreamPosition { id, offset });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::Rng;
    use crate::journal::Unlogged;
    use crate::journal::skipped::Skipped;
    use crate::persist::aof_encode::{FrameHeader, HEADER_BYTES_MAX};
    use crate::persist::frame::write_head;
    use crate::persist::scan::Piece;

    fn frame(offset: u64, skipped: &Skipped, preface: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_head(&mut out, 1, (offset, skipped), preface, b"1234567");
        [&out, &b"1234567"[..]].concat()
    }

    fn old_frame() -> Vec<u8> {
        let mut room = [0; HEADER_BYTES_MAX];
        let start = FrameHeader::of(1, b"12").write_before(&mut room);
        [&room[start..], b"12"].concat()
    }

    /// What is known behind a frame, and whether it fitted.
    fn behind(
        before: Option<StreamPosition>,
        frame: Vec<u8>,
        told: Option<ReplicationId>,
    ) -> (Option<StreamPosition>, bool) {
        let len = frame.len() as u64;
        let mut scanner = Scanner::new(Box::new(std::io::Cursor::new(frame)), len);
        assert_eq!(scanner.next_piece().unwrap(), Piece::Frame { sequence: 1 });
        let mut place = StreamPlace::of_base(before);
        let fits = place.pass_frame(&scanner, told).is_ok();
        (place.position(), fits)
    }

    #[test]
    fn it_goes_on_from_frame_to_frame() {
        let mut rng = Rng::from_seed(1);
        let [a, b] = [0; 2].map(|_| ReplicationId::random(&mut rng));
        let at = |id, offset| Some(StreamPosition { id, offset });
        let none = Skipped::default();
        let mut ping = none.clone();
        ping.push(Unlogged::Ping);
        assert_eq!(behind(at(a, 10), frame(10, &none, b"#x\r\n"), None), (at(a, 17), true));
        assert_eq!(behind(at(a, 10), frame(24, &ping, b""), Some(b)), (at(b, 31), true));
        assert_eq!(behind(None, frame(10, &none, b""), Some(b)), (at(b, 17), true));
        assert_eq!(behind(None, frame(10, &none, b""), None), (None, true));
        assert_eq!(behind(at(a, 10), old_frame(), None), (None, true));
        assert_eq!(behind(at(a, 10), frame(11, &none, b""), None), (None, false));
        assert_eq!(behind(at(a, u64::MAX), frame(u64::MAX, &none, b""), None), (None, true));
    }

    #[test]
    fn a_snapshot_says_it_in_two_fields() {
        let id = ReplicationId::random(&mut Rng::from_seed(1));
        let mut place = StreamPlace::default();
        place.note_field(b"repl-id", id.digits());
        place.note_field(b"repl-stream-db", b"0");
        assert_eq!(place.position(), None);
        place.note_field(b"repl-offset", b"99");
        assert_eq!(place.position(), Some(StreamPosition { id, offset: 99 }));
    }
}
