//! Random scripts give redis-server's replies: values both ways, errors, the libraries.
//!
//! `SCRIPT_SEED` and `SCRIPT_COUNT` choose the run; the first difference is printed with its script.

use crate::support::client::{Client, Value};
use crate::support::random::{Random, from_environment, seed_from_environment};
use crate::support::server::{Program, Server};
use crate::{PLAIN, ours};

/// What is put in front of scripts whose result isn't a reply as it is: a value as text.
const SHOW: &str = "local function show(v, d) \
    if type(v) ~= 'table' then return type(v) == 'userdata' and 'null' or \
        type(v) .. ':' .. (type(v) == 'number' and string.format('%.17g', v) or tostring(v)) end \
    if d > 8 then return '...' end \
    local t = {} for k, w in pairs(v) do t[#t + 1] = show(k, d + 1) .. '=' .. show(w, d + 1) end \
    table.sort(t) return '{' .. table.concat(t, ',') .. '}' end \
    local function shown(...) local t = {n = select('#', ...)} \
        for i = 1, t.n do t[i] = show((select(i, ...)), 0) end return t end ";

/// Random scripts.
struct Scripts {
    random: Random,
}

impl Scripts {
    /// One of a few words.
    fn word(&mut self, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        self.random.pick(&words).to_owned()
    }

    fn several(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> String) -> Vec<String> {
        let count = self.random.below(most + 1);
        (0..count).map(|_| one(self)).collect()
    }

    fn number(&mut self) -> String {
        match self.random.below(8) {
            0..4 => self.random.between(-3, 12).to_string(),
            4 => format!("{}.5", self.random.between(-1000, 1000)),
            5 => self.word("1e15 1e16 -1e17 2^31 2^53 2^63 -2^63 1e300 0.1 1/3 -0 1e-7"),
            6 => self.word("1/0 -1/0 0/0 255 256 65535 65536 -128 -129 4294967296 16777217.5"),
            _ => (self.random.next() as i64 >> self.random.below(64)).to_string(),
        }
    }

    /// A string as Lua writes it.
    fn text(&mut self) -> String {
        let text = self.several(6, |scripts| {
            scripts.word(
                "a b c x A Z 0 9 _ % . - \\0 \\n \\r \\t \\255 \\\\ \\' \\195\\164 \\127 / {}",
            )
        });
        format!("'{}'", text.concat())
    }

    fn plain(&mut self) -> String {
        match self.random.below(6) {
            0 | 1 => self.number(),
            2 | 3 => self.text(),
            4 => self.word("true false"),
            _ => "nil".to_owned(),
        }
    }

    /// A value of any kind.
    fn value(&mut self, depth: usize) -> String {
        if depth == 0 || self.random.chance(40) {
            return self.plain();
        }
        let mut fields = self.several(4, |scripts| scripts.value(depth - 1));
        if self.random.chance(30) {
            let key = self.word("a b ['c d'] [1.5] [10] [-1] [true] ok err");
            let value = self.value(depth - 1);
            fields.push(format!("{key} = {value}"));
        }
        format!("{{{}}}", fields.join(", "))
    }

    /// What becomes a reply of some type.
    fn reply(&mut self, depth: usize) -> String {
        match self.random.below(12) {
            0 => format!("{{ok = {}}}", self.text()),
            1 => format!("{{err = {}}}", self.text()),
            // redis-server 7.0 writes 17 digits, 7.2 as many as it takes.
            2 => format!("{{double = {}}}", self.word("0 1 -2.5 1e15 1/0 -1/0 0.125")),
            3 => format!("{{big_number = {}}}", self.text()),
            4 => format!("{{verbatim_string = {{string = {}, format = 'txt'}}}}", self.text()),
            // One field, since there is no order.
            5 if depth > 0 => {
                let (key, value) = (self.word("a 1 'x y'"), self.reply(depth - 1));
                format!("{{map = {{[{key}] = {value}}}}}", key = quoted(&key))
            }
            6 => format!("{{set = {{[{}] = true}}}}", self.text()),
            7 => format!("redis.error_reply({})", self.text()),
            8 => format!("redis.status_reply({})", self.text()),
            9 if depth > 0 => {
                format!("{{{}}}", self.several(4, |scripts| scripts.reply(depth - 1)).join(", "))
            }
            _ => self.value(2),
        }
    }

    fn pattern(&mut self) -> String {
        let mut pattern = if self.random.chance(15) { "^".to_owned() } else { String::new() };
        for _ in 0..self.random.below(7) {
            let item = self.word(
                "a b c . . %a %d %s %w %W %l %u %p %x %c %z %% %. [ab] [^a] [a-c] [%a_] [^%s] [] []a] [a-] \
                 [%] [ %b() %bab %b %f[a] %f[%w] %fa %1 %2 %0 ( ) ( ) () $ ^ % ] - * [b-a] [^] [^]b] [%w-z]",
            );
            pattern += &item;
            pattern += &self.word(" * + - ?  ");
        }
        if self.random.chance(15) {
            pattern.push('$');
        }
        if self.random.chance(3) {
            pattern += "\\0a";
        }
        format!("'{pattern}'")
    }

    /// A text that patterns meet in places.
    fn matched(&mut self) -> String {
        let text = self.several(12, |scripts| scripts.word("a a b c ab ( ) 1 _ A . % \\0 \\n "));
        format!("'{}'", text.concat())
    }

    fn patterns(&mut self) -> String {
        let (text, pattern) = (self.matched(), self.pattern());
        let (place, most) = (self.random.between(-5, 9), self.random.between(-1, 4));
        match self.random.below(9) {
            0 => format!("string.find, {text}, {pattern}"),
            1 => format!("string.find, {text}, {pattern}, {place}"),
            2 => format!("string.find, {text}, {pattern}, {place}, true"),
            3 => format!("string.match, {text}, {pattern}"),
            4 => format!("string.match, {text}, {pattern}, {place}"),
            5 => {
                let replacement = self.word("x %0 %1 %2 <%1%%> % %x %9 %0%0");
                format!("string.gsub, {text}, {pattern}, '{replacement}'")
            }
            6 => {
                let replacement = self.word(
                    "{a='1',b=2,ab=false} {} string.upper string.len function()end 7 nil true \
                     function(...)return\u{a0}select('#',...)end function(a)return\u{a0}{}end \
                     function(a)return\u{a0}(a:gsub('a','%0%0'))end",
                );
                let replacement = replacement.replace('\u{a0}', " ");
                format!("string.gsub, {text}, {pattern}, {replacement}, {most}")
            }
            _ => format!(
                "function() local t = {{}} for a, b in string.gmatch({text}, {pattern}) do \
                 t[#t + 1] = tostring(a) .. '|' .. tostring(b) end return unpack(t) end"
            ),
        }
    }

    fn strings(&mut self) -> String {
        let (text, other) = (self.text(), self.plain());
        let (from, to) = (self.random.between(-4, 8), self.random.between(-4, 8));
        match self.random.below(12) {
            0 => {
                let flags = self.word(" - + # 0 05 .3 10.4 -8 20 .0 +5.2");
                let letter = self.word("d i u c s q x X o e E f g G a");
                format!("string.format, '[%{flags}{letter}]', {other}")
            }
            1 => format!("string.rep, {text}, {from}"),
            2 => format!("string.sub, {text}, {from}, {to}"),
            3 => format!("string.byte, {text}, {from}, {to}"),
            4 => format!("string.{}, {other}", self.word("upper lower reverse len")),
            5 => format!("string.char, {from}, {to}, {}", self.random.below(258)),
            6 => {
                let digits = self.word("10 0x10 1e3 z 7 -5 1.5 ff 8 nan inf 0x 1_0 .5 5.");
                format!("tonumber, ' {digits} ', {}", self.word("10 16 2 36 8 37 1 nil"))
            }
            7 => format!("tostring, {other}"),
            8 => format!("redis.sha1hex, {other}"),
            // Not rep: redis-server works for minutes on a count of 1e16.
            9 => format!("string.{}, {other}, {}", self.word("sub byte find format"), self.plain()),
            10 => format!("loadstring, 'return {}'", self.word("1 x( 'a' {1} nil... return for")),
            _ => format!(
                "math.{}, {other}, {}",
                self.word("floor ceil abs max min fmod pow sqrt modf ldexp frexp log10 exp tan"),
                self.number()
            ),
        }
    }

    fn tables(&mut self) -> String {
        let elements = match self.random.below(3) {
            0 => self.several(5, Self::number),
            1 => self.several(5, Self::text),
            _ => self.several(5, Self::plain),
        };
        let list = format!("{{{}}}", elements.join(", "));
        let (from, to) = (self.random.between(-3, 6), self.random.between(-3, 6));
        match self.random.below(8) {
            0 => format!("table.concat, {list}"),
            1 => format!("table.concat, {list}, {}, {from}, {to}", self.plain()),
            2 => format!("function() local t = {list} table.sort(t) return t end"),
            3 => format!(
                "function() local t = {list} \
                 table.sort(t, function(a, b) return tostring(a) > tostring(b) end) return t end"
            ),
            4 => format!(
                "function() local t = {list} table.insert(t, {from}, 'new') return t, #t end"
            ),
            5 => format!("function() local t = {list} return table.remove(t, {from}), t end"),
            6 => format!("unpack, {list}, {from}, {to}"),
            _ => format!("{}, {list}", self.word("table.maxn table.getn next select type rawlen")),
        }
    }

    fn json(&mut self, depth: usize) -> String {
        match self.random.below(if depth == 0 { 5 } else { 8 }) {
            0 => self
                .word("1 -1 0 1.5 1e5 1E-3 -0 01 +1 .5 1. 0x1F nan inf -inf 123456789012345678901"),
            1 => self.word("true false null nul True t"),
            2 | 3 => {
                let text = self.several(4, |scripts| {
                    scripts.word(
                        "a b \\\\n \\\\\" \\\\u0041 \\\\u00e4 \\\\ud83d\\\\ude00 \\\\ud800 \\\\u12 \\\\x / \\0 \\1 \\195\\164",
                    )
                });
                format!("\"{}\"", text.concat())
            }
            4 => self.word(" \t [] {} [ ] { } , : [1,] {\"a\"} {\"a\":} [1 \"a"),
            5 | 6 => format!("[{}]", self.several(4, |scripts| scripts.json(depth - 1)).join(",")),
            _ => {
                let fields = self.several(3, |scripts| {
                    let value = scripts.json(depth - 1);
                    format!("\"{}\":{value}", scripts.word("a b c a"))
                });
                format!("{{{}}}", fields.join(" , "))
            }
        }
    }

    fn codecs(&mut self) -> String {
        match self.random.below(10) {
            0 | 1 => format!("cjson.encode, {}", self.value(3)),
            2 | 3 => format!("cjson.decode, '{}'", self.json(3)),
            4 => format!("cmsgpack.pack, {}, {}", self.value(3), self.value(1)),
            5 => {
                let bytes = self.several(9, |scripts| {
                    let byte =
                        scripts.random.pick(&[0u8, 1, 127, 128, 145, 146, 129, 160, 163, 192]);
                    let any = scripts.random.below(256) as u8;
                    format!("\\{}", if scripts.random.chance(50) { byte } else { any })
                });
                let function = self.word("unpack unpack_one");
                format!("cmsgpack.{function}, '{}'", bytes.concat())
            }
            6 => format!("cmsgpack.unpack, cmsgpack.pack({})", self.value(3)),
            7 => {
                let format = self.format();
                format!(
                    "struct.pack, {format}, {}, {}, {}",
                    self.plain(),
                    self.plain(),
                    self.plain()
                )
            }
            8 => {
                let (format, text, place) = (self.format(), self.text(), self.random.between(0, 3));
                format!("struct.unpack, {format}, {text} .. {text} .. '\\0\\1\\2\\3\\4', {place}")
            }
            _ => format!("struct.size, {}", self.format()),
        }
    }

    fn format(&mut self) -> String {
        let letters = self.several(4, |scripts| {
            scripts.word("b B h H l L i I i1 i2 I3 i8 I4 s c1 c3 c0 x f d > < !4 ! !3 z i33 T")
        });
        // A float as a length is one that C leaves undefined (redis-compat.md).
        let letters = letters.concat().replace("fc0", "f").replace("dc0", "d");
        format!("'{letters}'")
    }

    fn bits(&mut self) -> String {
        let function =
            self.word("tobit bnot band bor bxor lshift rshift arshift rol ror bswap tohex");
        format!("bit.{function}, {}, {}", self.number(), self.number())
    }

    /// A command and what comes back.
    fn command(&mut self) -> String {
        let call = self.word("call pcall");
        let key = self.word("s n l h z set none f");
        let words = self.word(
            "GET HGETALL SMEMBERS LRANGE|0|-1 ZRANGE|0|-1|WITHSCORES ZSCORE|a ZSCORE|none INCR TYPE EXISTS \
             INCRBYFLOAT|0.5 TTL HMGET|a|none STRLEN SET|5 LPUSH|x ZADD|1.5|b HSET|a|1 DEL ZINCRBY|1|a \
             OBJECT|ENCODING SPOP|0 HRANDFIELD|1|WITHVALUES NOSUCH GET|x EVAL \
             SUBSCRIBE MULTI LPOP SISMEMBER|a ZMSCORE|a|none LPOS|x GETEX|EX|0 XRANGE|-|+ DUMP",
        );
        let mut words = words.split('|');
        let name = words.next().unwrap_or_default();
        let rest: Vec<String> = words.map(|word| format!(", '{word}'")).collect();
        let argument = if self.random.chance(4) { self.value(1) } else { format!("'{key}'") };
        format!("redis.{call}('{name}', {argument}{})", rest.concat())
    }

    /// A script.
    fn script(&mut self) -> String {
        let setting = if self.random.chance(40) { "redis.setresp(3) " } else { "" };
        match self.random.below(20) {
            0..4 => format!("{setting}return {}", self.reply(3)),
            4 | 5 => format!("{setting}return {}", self.command()),
            6 | 7 => format!("{SHOW}{setting}return shown({})", self.command()),
            8 => format!(
                "{SHOW}{setting}return shown(pcall(function() return {} end))",
                self.command()
            ),
            9 => {
                let level = self.word(" ,0 ,1 ,2");
                // redis-server 7.0 ends where a table without a text is raised.
                let error = match self.random.below(4) {
                    0 => "{err = 'MY own'}".to_owned(),
                    1 => format!("redis.error_reply({})", self.text()),
                    _ => self.plain(),
                };
                let raise = format!("error({error}{level})");
                if self.random.chance(50) {
                    format!("{SHOW}return shown(pcall(function() {raise} end))")
                } else {
                    raise
                }
            }
            10..14 => format!("{SHOW}return shown(pcall({}))", self.patterns()),
            14 => format!("{SHOW}return shown(pcall({}))", self.strings()),
            15 => format!("{SHOW}return shown(pcall({}))", self.tables()),
            16 | 17 => format!("{SHOW}return shown(pcall({}))", self.codecs()),
            18 => format!("{SHOW}return shown(pcall({}))", self.bits()),
            _ => {
                let call = self.patterns();
                format!(
                    "return {{({})({})}}",
                    call.split(',').next().unwrap_or_default(),
                    "'x', 'y'"
                )
            }
        }
    }
}

fn quoted(key: &str) -> String {
    if key.starts_with(['1', '\'']) { key.to_owned() } else { format!("'{key}'") }
}

fn fill(client: &mut Client) {
    for command in [
        "FLUSHALL",
        "SET s text",
        "SET n 10",
        "SET f 1.5",
        "RPUSH l a b c",
        "HSET h a 1",
        "ZADD z 1 a 2.5 b",
        "SADD set a",
    ] {
        client.words(command);
    }
}

/// Where a message names what is random: the address of a function.
fn is_random(value: &Value) -> bool {
    let text = format!("{value:?}");
    ["function: 0x", "table: 0x", "userdata: 0x", "function: builtin"]
        .iter()
        .any(|part| text.contains(part))
}

#[test]
fn random_scripts_give_the_replies_of_redis_server() {
    let (seed, count) =
        (seed_from_environment("SCRIPT_SEED"), from_environment("SCRIPT_COUNT", 4000));
    let servers = [Server::start_with(Program::Redis, &PLAIN), ours()];
    let mut clients = [&servers[0], &servers[1]].map(Server::connect);
    let mut scripts = Scripts { random: Random::new(seed) };
    let (mut differences, mut compared) = (Vec::new(), 0u64);
    for number in 0..count {
        if number % 50 == 0 {
            let protocol = scripts.word("2 3");
            for client in &mut clients {
                client.call(&["HELLO", &protocol]);
                client.words("SCRIPT FLUSH");
                fill(client);
            }
        }
        let script = scripts.script();
        let [theirs, ours] = clients.each_mut().map(|client| client.call(&["EVAL", &script, "0"]));
        if is_random(&theirs) {
            continue;
        }
        compared += 1;
        if theirs != ours {
            differences.push(format!("{script}\n  theirs {theirs:?}\n  ours   {ours:?}"));
            fill(&mut clients[0]);
            fill(&mut clients[1]);
        }
    }
    assert!(compared > count / 2, "{compared} of {count} scripts were compared");
    let first: Vec<String> =
        differences.iter().take(40).map(|text| text.replace(SHOW, "")).collect();
    assert!(
        differences.is_empty(),
        "SCRIPT_SEED={seed}: {} of {compared} differ\n{}",
        differences.len(),
        first.join("\n")
    );
}
