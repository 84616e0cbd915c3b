//! Values as RESTORE gets them, without their footers: well-formed ones in every form, and hostile
//! ones, each with one thing wrong with it. Made from the formats' descriptions, with no code of the
//! server's, so that an error of its own can't cancel out.

/// A name and the bytes of a value: its type, and what follows it.
pub type Case = (&'static str, Vec<u8>);

/// A string of RDB.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80];
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
    out
}

/// Type, then strings.
fn strings(type_byte: u8, count: u8, words: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![type_byte, count];
    words.iter().for_each(|word| out.extend(string(word)));
    out
}

fn of_block(type_byte: u8, block: &[u8]) -> Vec<u8> {
    [vec![type_byte], string(block)].concat()
}

/// A list of nodes, each in a listpack.
fn nodes(packs: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![18, packs.len() as u8];
    for pack in packs {
        out.push(2);
        out.extend(string(pack));
    }
    out
}

/// A string's entry in a listpack, with its length behind it.
fn entry(bytes: &[u8]) -> Vec<u8> {
    [&[0x80 | bytes.len() as u8], bytes, &[bytes.len() as u8 + 1]].concat()
}

/// A listpack of these entries.
pub fn listpack(entries: &[&[u8]]) -> Vec<u8> {
    let entries_bytes = entries.concat();
    let mut out = (entries_bytes.len() as u32 + 7).to_le_bytes().to_vec();
    out.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    out.extend(entries_bytes);
    out.push(0xff);
    out
}

/// A listpack of these strings.
fn pack(words: &[&[u8]]) -> Vec<u8> {
    let entries: Vec<Vec<u8>> = words.iter().map(|word| entry(word)).collect();
    listpack(&entries.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// A ziplist of entries whose encodings and data are given, up to 253 bytes each.
pub fn ziplist(entries: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0; 10];
    let (mut before, mut last) = (0, 10);
    for entry in entries {
        last = out.len();
        out.push(before);
        out.extend_from_slice(entry);
        before = entry.len() as u8 + 1;
    }
    out.push(0xff);
    let total = out.len() as u32;
    out[..4].copy_from_slice(&total.to_le_bytes());
    out[4..8].copy_from_slice(&(last as u32).to_le_bytes());
    out[8..10].copy_from_slice(&(entries.len() as u16).to_le_bytes());
    out
}

/// A set of integers of a width.
pub fn intset(width: u32, numbers: &[i64]) -> Vec<u8> {
    let mut out = width.to_le_bytes().to_vec();
    out.extend_from_slice(&(numbers.len() as u32).to_le_bytes());
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes()[..width.min(8) as usize]);
    }
    out
}

/// A string of LZF that claims to become so many bytes.
fn compressed(bytes: &[u8], claimed: u8) -> Vec<u8> {
    [&[0xc3, bytes.len() as u8, claimed], bytes].concat()
}

fn put(mut bytes: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

/// Well-formed values, in every form.
pub fn accepted() -> Vec<Case> {
    let triple =
        listpack(&[&entry(b"f"), &entry(b"v"), &[0, 1], &entry(b"g"), &entry(b"w"), &[5, 1]]);
    let sorted = pack(&[b"b", b"1", b"a", b"2"]);
    let numbers = listpack(&[
        &[0x7f, 1],
        &[0xdf, 0xff, 2],
        &[0xf1, 0, 0x80, 3],
        &[0xf2, 0, 0, 0x80, 4],
        &[0xf3, 0, 0, 0, 0x80, 5],
        &[0xf4, 0, 0, 0, 0, 0, 0, 0, 0x80, 9],
    ]);
    let many = put(pack(&[b"a", b"b"]), 4, &[0xff, 0xff]);
    let after = |expiry: u8| [&[expiry][..], &string(b"f"), &string(b"v")].concat();
    vec![
        ("string", [vec![0], string(b"hello")].concat()),
        ("string-int", vec![0, 0xc1, 0x39, 0x30]),
        ("string-lzf", [vec![0], compressed(b"\x00a\xe0\x01\x00", 11)].concat()),
        ("list", strings(1, 3, &[b"a", b"12", b""])),
        ("list-ziplist", of_block(10, &ziplist(&[b"\x05hello", b"\xc0\x39\x30", b"\xf1"]))),
        ("list-of-ziplists", [&[14, 1][..], &string(&ziplist(&[b"\x01a"]))].concat()),
        ("list-of-nodes", nodes(&[pack(&[b"a", b"b"]), numbers.clone()])),
        ("list-plain-node", [&[18, 1, 1][..], &string(&[b'x'; 90])].concat()),
        ("list-uncounted", nodes(&[many])),
        ("set", strings(2, 3, &[b"a", b"b", b"7"])),
        ("set-ints", of_block(11, &intset(2, &[-5, 0, 7]))),
        ("set-wide-ints", of_block(11, &intset(8, &[-5, 1 << 40]))),
        ("set-listpack", of_block(20, &numbers)),
        ("zset-text", [&[3, 2][..], &string(b"a"), b"\x031.5", &string(b"b"), b"\xfe"].concat()),
        ("zset", [&[5, 1][..], &string(b"a"), &2.5_f64.to_le_bytes()].concat()),
        ("zset-listpack", of_block(17, &sorted)),
        ("zset-out-of-order", of_block(17, &pack(&[b"b", b"2", b"a", b"1"]))),
        ("zset-ziplist", of_block(12, &ziplist(&[b"\x01a", b"\xf3"]))),
        ("hash", strings(4, 1, &[b"f", b"v"])),
        ("hash-zipmap", of_block(9, b"\x01\x01f\x01\0v\xff")),
        ("hash-ziplist", of_block(13, &ziplist(&[b"\x01f", b"\x01v"]))),
        ("hash-listpack", of_block(16, &pack(&[b"f", b"v"]))),
        ("hash-timed", [&[24, 9, 0, 0, 0, 0, 0, 0, 0, 1][..], &after(1)].concat()),
        ("hash-timed-listpack", [&[25, 5, 0, 0, 0, 0, 0, 0, 0][..], &string(&triple)].concat()),
        ("hash-timed-pre-release", of_block(23, &triple)),
        ("hash-timed-pre-release-fields", [&[22, 1][..], &after(9)].concat()),
    ]
}

/// Values with something wrong with them.
pub fn refused() -> Vec<Case> {
    let mut cases = strings_refused();
    cases.extend(listpacks_refused());
    cases.extend(other_blocks_refused());
    cases.extend(elements_refused());
    cases.extend(expiries_refused());
    cases
}

fn strings_refused() -> Vec<Case> {
    let huge = [0x81, 0x40, 0, 0, 0, 0, 0, 0, 0];
    vec![
        ("no-value", vec![0]),
        ("unknown-type", vec![8, 1, 1, b'a']),
        ("opcode-for-type", vec![0xfe, 0]),
        ("module", vec![7, 0x81, 0, 0, 0, 0, 0, 0, 4, 0, 0]),
        ("string-cut-off", vec![0, 5, b'a', b'b']),
        ("string-huge", [&[0][..], &huge, b"abc"].concat()),
        ("string-unknown-encoding", vec![0, 0xc4, 1]),
        ("string-int-cut-off", vec![0, 0xc2, 1, 2]),
        ("string-and-more", [vec![0], string(b"a"), vec![0]].concat()),
        ("lzf-longer", [vec![0], compressed(b"\x00a\xe0\x01\x00", 12)].concat()),
        ("lzf-shorter", [vec![0], compressed(b"\x00a\xe0\x01\x00", 10)].concat()),
        ("lzf-before-the-start", [vec![0], compressed(b"\x20\x00", 3)].concat()),
        ("lzf-cut-off", [vec![0], compressed(b"\x00a\xe0\x01", 11)].concat()),
        ("lzf-of-nothing", [vec![0], compressed(b"", 5)].concat()),
        ("lzf-to-huge", [&[0, 0xc3, 3][..], &huge, b"\x01ab"].concat()),
        ("lzf-from-huge", [&[0, 0xc3][..], &huge, b"\x03\x01ab"].concat()),
        ("count-is-an-integer", vec![2, 0xc0, 1, 1, b'a']),
    ]
}

/// What can be wrong with a listpack, in every place where one may stand.
fn listpacks_refused() -> Vec<Case> {
    let good = pack(&[b"f", b"v"]);
    let lens = [&[0xbf, b'a', 2][..], &[0xef, 0xff, b'a', 3], &[0xf0, 0xff, 0xff, 0xff, 0xff, 6]];
    let [len_6, len_12, len_32] = lens.map(|len| listpack(&[len, &entry(b"v")]));
    let cut = |at: usize| put(good.clone(), 0, &(at as u32).to_le_bytes())[..at].to_vec();
    let bad: Vec<Case> = vec![
        ("total-more", put(good.clone(), 0, &[200])),
        ("total-less", put(good.clone(), 0, &[7])),
        ("total-zero", put(good.clone(), 0, &[0])),
        ("count-more", put(good.clone(), 4, &[4])),
        ("count-less", put(good.clone(), 4, &[0])),
        ("no-bytes", Vec::new()),
        ("header-only", cut(6)),
        ("no-end", put(good.clone(), good.len() - 1, &[1])),
        ("end-too-early", put(good.clone(), 9, &[0xff])),
        ("cut-in-entry", cut(8)),
        ("length-6-bits", len_6),
        ("length-12-bits", len_12),
        ("length-32-bits", len_32),
        ("head-cut-off", listpack(&[&entry(b"f"), &[0xf0]])),
        ("integer-cut-off", listpack(&[&entry(b"f"), &[0xf4, 1]])),
        ("no-encoding", listpack(&[&[0xf5, 1], &entry(b"v")])),
        ("back-length-more", put(good.clone(), 8, &[9])),
        ("back-length-less", put(good.clone(), 8, &[0])),
        ("back-length-long", listpack(&[b"\x81f\x82", &entry(b"v")])),
        ("back-length-missing", listpack(&[&entry(b"f"), b"\x81v"])),
    ];
    let mut cases = Vec::new();
    for (name, block) in bad {
        cases.push((name, of_block(16, &block)));
        cases.push((name, of_block(17, &block)));
        cases.push((name, nodes(std::slice::from_ref(&block))));
        cases.push((name, nodes(&[good.clone(), block.clone()])));
        cases.push((name, of_block(20, &block)));
    }
    cases.extend([
        ("empty-hash", of_block(16, &pack(&[]))),
        ("empty-zset", of_block(17, &pack(&[]))),
        ("empty-set", of_block(20, &pack(&[]))),
        ("empty-nodes", nodes(&[pack(&[]), pack(&[])])),
        ("no-nodes", nodes(&[])),
        ("odd-hash", of_block(16, &pack(&[b"f", b"v", b"g"]))),
        ("odd-zset", of_block(17, &pack(&[b"a", b"1", b"b"]))),
        ("field-twice", of_block(16, &pack(&[b"f", b"v", b"f", b"w"]))),
        (
            "field-twice-as-a-number",
            of_block(16, &listpack(&[&entry(b"5"), &entry(b"v"), &[5, 1], &entry(b"w")])),
        ),
        ("member-twice", of_block(17, &pack(&[b"a", b"1", b"a", b"2"]))),
        ("member-of-set-twice", of_block(20, &pack(&[b"a", b"b", b"a"]))),
        ("score-no-number", of_block(17, &pack(&[b"a", b"x"]))),
        ("score-nan", of_block(17, &pack(&[b"a", b"nan"]))),
        ("score-empty", of_block(17, &pack(&[b"a", b""]))),
        ("node-of-no-kind", [&[18, 1, 3][..], &string(&good)].concat()),
        ("node-kind-beyond-a-byte", [&[18, 1, 0x41, 0x02][..], &string(&good)].concat()),
        ("plain-node-of-nothing", [&[18, 1, 1][..], &string(b"")].concat()),
        ("nodes-fewer-than-told", put(nodes(&[good]), 1, &[9])),
    ]);
    cases
}

/// Sets of integers, ziplists, zipmaps.
fn other_blocks_refused() -> Vec<Case> {
    let ints = intset(2, &[1, 2, 3]);
    let good = ziplist(&[b"\x01f", b"\x01v"]);
    let ziplists: Vec<Case> = vec![
        ("zl-total-more", put(good.clone(), 0, &[200])),
        ("zl-total-less", put(good.clone(), 0, &[12])),
        ("zl-tail-more", put(good.clone(), 4, &[200])),
        ("zl-tail-less", put(good.clone(), 4, &[10])),
        ("zl-tail-in-header", put(good.clone(), 4, &[0])),
        ("zl-count-more", put(good.clone(), 8, &[4])),
        ("zl-count-less", put(good.clone(), 8, &[0])),
        ("zl-no-end", put(good.clone(), good.len() - 1, &[0])),
        ("zl-end-too-early", put(good.clone(), 13, &[0xff])),
        ("zl-length-6-bits", ziplist(&[b"\x3ff", b"\x01v"])),
        ("zl-length-14-bits", ziplist(&[b"\x7f\xfff", b"\x01v"])),
        ("zl-length-32-bits", ziplist(&[b"\x80\xff\xff\xff\xfff", b"\x01v"])),
        ("zl-integer-cut-off", ziplist(&[b"\x01f", b"\xe0\x01"])),
        ("zl-no-encoding", ziplist(&[b"\x01f", b"\xff"])),
        ("zl-before-more", put(good.clone(), 13, &[9])),
        ("zl-before-less", put(good.clone(), 13, &[0])),
        ("zl-before-long-and-wrong", ziplist(&[b"\x01f", b"\x01v", b"\x01x"])),
        ("zl-before-huge", put(ziplist(&[b"\x01f", b"\0\0\0\0\x01v"]), 13, &[0xfe, 0xff, 0xff])),
        ("zl-header-only", good[..10].to_vec()),
        ("zl-no-bytes", Vec::new()),
    ];
    let mut cases = Vec::new();
    for (name, block) in ziplists {
        if name != "zl-before-long-and-wrong" {
            cases.push((name, of_block(10, &block)));
            cases.push((name, [&[14, 1][..], &string(&block)].concat()));
        }
        cases.push((name, of_block(12, &block)));
        cases.push((name, of_block(13, &block)));
    }
    cases.extend([
        ("zl-empty-list", of_block(10, &ziplist(&[]))),
        ("zl-empty-zset", of_block(12, &ziplist(&[]))),
        ("zl-empty-hash", of_block(13, &ziplist(&[]))),
        ("zl-field-twice", of_block(13, &ziplist(&[b"\x01f", b"\x01v", b"\x01f", b"\x01w"]))),
        ("zl-member-twice", of_block(12, &ziplist(&[b"\x01a", b"\xf1", b"\x01a", b"\xf2"]))),
        ("ints-unordered", of_block(11, &intset(2, &[2, 1, 3]))),
        ("ints-twice", of_block(11, &intset(2, &[1, 1, 3]))),
        ("ints-none", of_block(11, &intset(2, &[]))),
        ("ints-width-3", of_block(11, &put(ints.clone(), 0, &[3]))),
        ("ints-width-0", of_block(11, &put(ints.clone(), 0, &[0]))),
        ("ints-width-16", of_block(11, &put(ints.clone(), 0, &[16]))),
        ("ints-count-more", of_block(11, &put(ints.clone(), 4, &[4]))),
        ("ints-count-less", of_block(11, &put(ints.clone(), 4, &[2]))),
        ("ints-count-huge", of_block(11, &put(ints.clone(), 4, &[0xff; 4]))),
        ("ints-header-cut-off", of_block(11, &ints[..7])),
        ("ints-no-bytes", of_block(11, b"")),
        ("zipmap-no-bytes", of_block(9, b"")),
        ("zipmap-empty", of_block(9, b"\0\xff")),
        ("zipmap-no-end", of_block(9, b"\x01\x01f\x01\0v")),
        ("zipmap-end-in-between", of_block(9, b"\x01\x01f\xff")),
        ("zipmap-count-more", of_block(9, b"\x03\x01f\x01\0v\xff")),
        ("zipmap-count-less", of_block(9, b"\0\x01f\x01\0v\xff")),
        ("zipmap-length-beyond", of_block(9, b"\x01\x01f\x70\0v\xff")),
        ("zipmap-long-length-beyond", of_block(9, b"\x01\xfe\xff\xff\xff\xfff\x01\0v\xff")),
        ("zipmap-unused-beyond", of_block(9, b"\x01\x01f\x01\x09v\xff")),
        ("zipmap-more-behind", of_block(9, b"\x01\x01f\x01\0v\xff\xff")),
        ("zipmap-field-twice", of_block(9, b"\x02\x01f\x01\0v\x01f\x01\0w\xff")),
    ]);
    cases
}

/// Collections that are written element by element.
fn elements_refused() -> Vec<Case> {
    let nan = f64::NAN.to_le_bytes();
    let one = 1_f64.to_le_bytes();
    let huge = [0x81, 0x10, 0, 0, 0, 0, 0, 0, 0];
    let many = |type_byte: u8| [&[type_byte][..], &huge, &string(b"a"), &string(b"b")].concat();
    let a = string(b"a");
    vec![
        ("list-of-none", strings(1, 0, &[])),
        ("list-of-fewer", strings(1, 3, &[b"a", b"b"])),
        ("list-of-more", strings(1, 1, &[b"a", b"b"])),
        ("list-of-huge-count", many(1)),
        ("set-of-none", strings(2, 0, &[])),
        ("set-of-fewer", strings(2, 3, &[b"a", b"b"])),
        ("set-twice", strings(2, 3, &[b"a", b"b", b"a"])),
        ("set-of-ints-twice", strings(2, 3, &[b"1", b"2", b"1"])),
        ("set-of-huge-count", many(2)),
        ("hash-of-none", strings(4, 0, &[])),
        ("hash-odd", strings(4, 2, &[b"f", b"v", b"g"])),
        ("hash-twice", strings(4, 2, &[b"f", b"v", b"f", b"w"])),
        ("hash-of-huge-count", many(4)),
        ("zset-of-none", vec![5, 0]),
        ("zset-nan", [&[5, 1][..], &a, &nan].concat()),
        ("zset-score-cut-off", [&[5, 1][..], &a, &one[..5]].concat()),
        ("zset-twice", [&[5, 2][..], &a, &one, &a, &one].concat()),
        ("zset-of-huge-count", [&[5][..], &huge, &a, &one].concat()),
        ("zset-text-nan", [&[3, 1][..], &a, b"\xfd"].concat()),
        ("zset-text-twice", [&[3, 2][..], &a, b"\x011", &a, b"\x012"].concat()),
        ("zset-text-of-none", vec![3, 0]),
    ]
}

/// Hashes whose fields expire, which Redis 7.0 doesn't know at all.
fn expiries_refused() -> Vec<Case> {
    let field = |after: &[u8]| [after, &string(b"f"), &string(b"v")].concat();
    let timed = |earliest: i64, fields: &[u8], count: u8| {
        [&[24][..], &earliest.to_le_bytes(), &[count], fields].concat()
    };
    let packed = |entries: &[&[u8]]| [&[25; 1][..], &[0; 8], &string(&listpack(entries))].concat();
    let (f, v) = (entry(b"f"), entry(b"v"));
    let overflow = [0x81, 0x80, 0, 0, 0, 0, 0, 0, 0];
    vec![
        ("timed-negative", timed(-9, &field(&[2]), 1)),
        ("timed-overflow", timed(9, &field(&overflow), 1)),
        ("timed-sum-overflow", timed(i64::MAX, &field(&[9]), 1)),
        ("timed-twice", timed(9, &[field(&[1]), field(&[2])].concat(), 2)),
        ("timed-none", timed(9, &[], 0)),
        ("timed-pre-release-overflow", [&[22, 1][..], &field(&overflow)].concat()),
        ("timed-pack-no-triple", packed(&[&f, &v])),
        ("timed-pack-no-number", packed(&[&f, &v, &entry(b"x")])),
        ("timed-pack-negative", packed(&[&f, &v, &[0xdf, 0xff, 2]])),
        ("timed-pack-twice", packed(&[&f, &v, &[1, 1], &f, &v, &[2, 1]])),
        ("timed-pack-empty", packed(&[])),
    ]
}
