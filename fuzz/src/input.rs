//! An input read as a row of decisions. When its bytes are used up, every decision is the first.

use redstart::data::thresholds::Thresholds;

/// Lengths around which the forms of strings, entries and nodes change.
const LENGTHS: [usize; 16] =
    [0, 1, 63, 64, 65, 127, 128, 223, 225, 255, 300, 2047, 2048, 2049, 4096, 9000];
/// Words that nearly are numbers, or only just.
const NEAR_NUMBERS: [&[u8]; 10] = [
    b"-0",
    b"007",
    b"+5",
    b" 1",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"-",
    b"1.5",
    b"\xff\0",
];

/// See the file's head.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether the bytes are used up.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.rest {
            [first, rest @ ..] => {
                self.rest = rest;
                *first
            }
            [] => 0,
        }
    }

    /// A number below `bound`, from one byte, or from two where one doesn't reach.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = if bound > 256 { usize::from(self.byte()) << 8 } else { 0 };
        (wide | usize::from(self.byte())) % bound.max(1)
    }

    /// Up to `most` bytes as they stand, as many as a byte before them says.
    pub fn piece(&mut self, most: usize) -> &'a [u8] {
        let len = usize::from(self.byte()).min(most);
        self.take(len)
    }

    /// Up to `len` bytes as they stand.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (piece, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        piece
    }

    /// A number of any magnitude.
    pub fn number(&mut self) -> i64 {
        let mut wide = [0; 8];
        let piece = self.take(8);
        wide[..piece.len()].copy_from_slice(piece);
        let shift = self.below(64);
        i64::from_le_bytes(wide) >> shift
    }

    /// A key, an element, a member: mostly one of few, so that they meet again.
    pub fn word(&mut self) -> Vec<u8> {
        match self.below(16) {
            0..=4 => self.below(24).to_string().into_bytes(),
            5..=8 => format!("m{}", self.below(24)).into_bytes(),
            9 => self.number().to_string().into_bytes(),
            10 => NEAR_NUMBERS[self.below(NEAR_NUMBERS.len())].to_vec(),
            11 | 12 => self.piece(20).to_vec(),
            13 => format!("{:0>1$}", self.below(300), self.below(12)).into_bytes(),
            _ => {
                let fill = b'a' + self.byte() % 26;
                vec![fill; LENGTHS[self.below(LENGTHS.len())]]
            }
        }
    }

    /// A score: any number that is one.
    pub fn score(&mut self) -> f64 {
        let score = match self.below(6) {
            0 | 1 => self.below(9) as f64 - 4.0,
            2 => self.number() as f64,
            3 => self.number() as f64 / 8.0,
            4 => [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 5e-324][self.below(6)],
            _ => {
                let mut bits = [0; 8];
                let piece = self.take(8);
                bits[..piece.len()].copy_from_slice(piece);
                f64::from_le_bytes(bits)
            }
        };
        if score.is_nan() { 0.5 } else { score }
    }

    /// Up to where collections stay compact: the defaults, and bounds that few inputs reach or all
    /// do.
    pub fn thresholds(&mut self) -> Thresholds {
        let small = |entries: usize, value: usize, list_size: i64| Thresholds {
            hash_entries: entries,
            hash_value: value,
            list_size,
            set_ints: entries,
            set_entries: entries,
            set_value: value,
            zset_entries: entries,
            zset_value: value,
            stream_node_bytes: value * 8,
            stream_node_entries: entries,
            ..Thresholds::default()
        };
        match self.below(5) {
            0 | 1 => Thresholds::default(),
            2 => small(4, 16, 3),
            3 => small(0, 0, 1),
            _ => small(4096, 1 << 20, -5),
        }
    }
}
