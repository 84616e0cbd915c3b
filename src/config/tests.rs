//! Tests of the settings as a whole: the table against its fields, and what goes in against what
//! comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::base::env::{Disk, DiskFile, SyncPoint};
use crate::config::arguments::{Configured, Invocation, configure};
use crate::config::change::{ConfigError, Origin, get, set};
use crate::config::directives::{self, Kind, Mutability};
use crate::config::kinds::{
    AppendFsync, BindAddress, ClientMemory, EventClasses, SavePoint, ShutdownFlags,
};
use crate::config::load::Loader;
use crate::config::renames::CommandNames;
use crate::config::rewrite::{Scope, rewrite, rewrite_file};
use crate::config::settings::{FIELDS, Settings};

type Files = Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>;

/// Files in memory, enough for reading configurations. `steps` notes what was done in which order.
#[derive(Clone, Debug, Default)]
struct Shelf {
    files: Files,
    steps: Arc<Mutex<Vec<String>>>,
}

impl Shelf {
    fn of(files: &[(&str, &str)]) -> Self {
        let shelf = Self::default();
        for (path, text) in files {
            shelf.files.lock().unwrap().insert(PathBuf::from(path), text.as_bytes().to_vec());
        }
        shelf
    }

    fn text(&self, path: &str) -> String {
        String::from_utf8(self.files.lock().unwrap()[Path::new(path)].clone()).unwrap()
    }

    fn note(&self, step: String) {
        self.steps.lock().unwrap().push(step);
    }
}

struct ShelfFile {
    shelf: Shelf,
    path: PathBuf,
}

impl DiskFile for ShelfFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.shelf.note(format!("append {}", self.path.display()));
        let mut files = self.shelf.files.lock().unwrap();
        files.get_mut(&self.path).unwrap().extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.shelf.note(format!("sync {}", self.path.display()));
        Ok(())
    }

    fn truncate(&mut self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn duplicate(&self) -> io::Result<Box<dyn DiskFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Disk for Shelf {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.files.lock().unwrap().insert(path.to_owned(), Vec::new());
        Ok(Box::new(ShelfFile { shelf: self.clone(), path: path.to_owned() }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if path.starts_with("/nonexistent") {
            return Err(io::Error::from_raw_os_error(2));
        }
        self.files.lock().unwrap().entry(path.to_owned()).or_default();
        Ok(Box::new(ShelfFile { shelf: self.clone(), path: path.to_owned() }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let contents = self.files.lock().unwrap().get(path).cloned();
        let contents = contents.ok_or_else(|| io::Error::from_raw_os_error(2))?;
        Ok(Box::new(Cursor::new(contents)))
    }

    fn len(&self, _: &Path) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.files.lock().unwrap().keys().any(|file| file.starts_with(path)))
    }

    fn write_again(&self, _: &Path, _: u64, _: SyncPoint) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note(format!("rename {} {}", from.display(), to.display()));
        let mut files = self.files.lock().unwrap();
        let contents = files.remove(from).unwrap();
        files.insert(to.to_owned(), contents);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().unwrap().remove(path);
        Ok(())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.note(format!("sync {}", path.display()));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let files = self.files.lock().unwrap();
        let names = files.keys().filter_map(|file| file.strip_prefix(path).ok());
        let first = |rest: &Path| rest.iter().next().map(PathBuf::from);
        Ok(names.filter_map(first).collect::<BTreeSet<_>>().into_iter().collect())
    }
}

fn commands() -> CommandNames {
    ["GET", "FLUSHALL", "CONFIG"].into_iter().collect()
}

fn load(text: &str) -> Result<Settings, String> {
    let shelf = Shelf::default();
    let mut loader = Loader::new(&shelf, commands());
    loader.text(text.as_bytes()).map_err(|error| error.to_string())?;
    loader.finish().map_err(|error| error.to_string())
}

fn serve(shelf: &Shelf, arguments: &[&str], stdin: &str) -> Result<Configured, String> {
    let arguments: Vec<OsString> =
        std::iter::once("redstart").chain(arguments.iter().copied()).map(Into::into).collect();
    match configure(&arguments, shelf, &mut Cursor::new(stdin.to_owned()), commands()) {
        Ok(Invocation::Serve(configured)) => Ok(*configured),
        Ok(Invocation::Print(text)) => Err(text),
        Err(error) => Err(error.to_string()),
    }
}

fn shown(settings: &Settings, name: &str) -> String {
    let found = get(settings, &[name.as_bytes()]);
    assert_eq!(found.len(), 1, "{name}");
    String::from_utf8(found[0].1.clone()).unwrap()
}

const REMOTE: Origin = Origin { local: false, loading: false };

fn change(settings: &mut Settings, pairs: &[(&str, &str)]) -> Result<Vec<&'static str>, String> {
    let pairs: Vec<(&[u8], &[u8])> =
        pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    match set(settings, &pairs, REMOTE) {
        Ok(rows) => Ok(rows.into_iter().map(|row| row.name).collect()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn every_field_has_its_row_and_every_row_its_field() {
    let rows: BTreeSet<&str> = directives::all().map(|row| row.field.name).collect();
    let mut fields: BTreeSet<&str> = FIELDS.iter().copied().collect();
    assert!(fields.remove("rename_command"));
    assert_eq!(rows, fields);
    assert_eq!(rows.len(), directives::all().count(), "two rows share a field");
}

#[test]
fn rows_are_well_formed() {
    let mut names = BTreeSet::new();
    for row in directives::all() {
        assert_eq!(row.field.name, row.name.replace('-', "_"));
        for name in std::iter::once(row.name).chain(row.alias) {
            assert_eq!(name, name.to_ascii_lowercase());
            assert!(names.insert(name), "{name} twice");
        }
        assert!(row.doc.ends_with('.'), "{}: {}", row.name, row.doc);
        // `Default` would have stopped at a default that doesn't parse: in debug builds.
        let mut settings = Settings::default();
        row.reset(&mut settings);
        if let Kind::Number { min, max } | Kind::Memory { min, max } | Kind::Octal { min, max } =
            row.kind
        {
            for bound in [min, max].into_iter().filter(|bound| *bound <= i128::from(i64::MAX)) {
                let text = match row.kind {
                    Kind::Octal { .. } => format!("{bound:o}"),
                    _ => bound.to_string(),
                };
                assert_eq!(row.parse(&mut settings, &[text.as_bytes()]), Ok(()), "{}", row.name);
                assert_eq!(row.print(&settings), text.as_bytes());
            }
        }
    }
}

/// What CONFIG GET shows of a server without a configuration, where it is not nothing, 0 or the
/// like: upstream's 7.2 but for `appendonly`.
#[test]
fn defaults_are_upstreams() {
    let settings = Settings::default();
    for (name, value) in [
        ("acl-pubsub-default", "resetchannels"),
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("appenddirname", "appendonlydir"),
        ("auto-aof-rewrite-min-size", "67108864"),
        ("auto-aof-rewrite-percentage", "100"),
        ("bind", "* -::*"),
        (
            "client-output-buffer-limit",
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        ),
        ("client-query-buffer-limit", "1073741824"),
        ("databases", "16"),
        ("dbfilename", "dump.rdb"),
        ("enable-debug-command", "no"),
        ("hash-max-ziplist-entries", "512"),
        ("hz", "10"),
        ("latency-tracking-info-percentiles", "50 99 99.9"),
        ("list-max-ziplist-size", "-2"),
        ("lua-time-limit", "5000"),
        ("maxclients", "10000"),
        ("maxmemory", "0"),
        ("maxmemory-clients", "0"),
        ("maxmemory-policy", "noeviction"),
        ("notify-keyspace-events", ""),
        ("oom-score-adj-values", "0 200 800"),
        ("port", "6379"),
        ("proto-max-bulk-len", "536870912"),
        ("repl-backlog-size", "1048576"),
        ("replicaof", ""),
        ("save", "3600 1 300 100 60 10000"),
        ("shutdown-on-sigterm", "default"),
        ("slave-priority", "100"),
        ("slowlog-log-slower-than", "10000"),
        ("tcp-keepalive", "300"),
        ("unixsocketperm", "0"),
        ("zset-max-listpack-value", "64"),
    ] {
        assert_eq!(shown(&settings, name), value, "{name}");
    }
}

#[test]
fn a_file_sets_what_it_says() {
    let settings = load(
        "# a comment\n\n  PORT 7000 \r\nbind 127.0.0.1 -::1\nmaxmemory 1gb\nmaxmemory-clients 5%\n\
         save 900 1\nsave 300 10\nappendfsync ALWAYS\nrequirepass \"a b\\x41\"\n\
         unixsocketperm 755\nslave-priority 7\nshutdown-on-sigterm now force\n\
         client-output-buffer-limit \"replica 1mb 2mb 3\"\nnotify-keyspace-events Kg\n\
         rename-command FLUSHALL \"\"\nlist-max-ziplist-entries 5\nhz 100000\n",
    )
    .unwrap();
    assert_eq!(settings.port, 7000);
    let address = |text: &str, optional| BindAddress { text: text.to_owned(), optional };
    assert_eq!(settings.bind, [address("127.0.0.1", false), address("::1", true)]);
    assert_eq!(settings.maxmemory, 1 << 30);
    assert_eq!(settings.maxmemory_clients, ClientMemory::Percent(5));
    let point = |seconds, changes| SavePoint { seconds, changes };
    assert_eq!(settings.save, [point(900, 1), point(300, 10)]);
    assert_eq!(settings.appendfsync, AppendFsync::Always);
    assert_eq!(settings.requirepass, b"a bA");
    assert_eq!(settings.unixsocketperm, 0o755);
    assert_eq!(settings.replica_priority, 7);
    assert!(settings.shutdown_on_sigterm.now && settings.shutdown_on_sigterm.force);
    assert_eq!(settings.client_output_buffer_limit.replica.soft, 2 << 20);
    assert!(settings.notify_keyspace_events.contains(EventClasses::of(b'g').unwrap()));
    assert_eq!(settings.rename_command, [(b"FLUSHALL".to_vec(), Vec::new())]);
    assert_eq!(settings.hz, 500);
}

#[test]
fn save_lines_add_up_until_an_empty_one() {
    assert_eq!(load("save \"\"").unwrap().save, []);
    assert_eq!(load("save 1 2\nsave ''\nsave 3 4").unwrap().save.len(), 1);
    assert_eq!(load("save \"1 2 3 4\"\nsave 5 6").unwrap().save.len(), 3);
}

#[test]
fn a_wrong_line_is_reported_as_upstream_does() {
    for (line, reason) in [
        ("maxclients 0", "argument must be between 1 and 4294967295 inclusive"),
        ("maxclients x", "argument couldn't be parsed into an integer"),
        ("bogus 1", "Bad directive or wrong number of arguments"),
        ("include", "Bad directive or wrong number of arguments"),
        ("port", "wrong number of arguments"),
        ("port 1 2", "wrong number of arguments"),
        ("port \"1", "Unbalanced quotes in configuration line"),
        ("save 1", "Invalid save parameters"),
        ("appendfsync x", "argument(s) must be one of the following: everysec, always, no"),
        ("unixsocketperm 888", "argument couldn't be parsed as an octal number"),
        ("unixsocketperm 1000", "argument must be between 0 and 777 inclusive"),
        ("proto-max-bulk-len 4gb", "argument must be between 1048576 and 4293918719 inclusive"),
        (
            "client-query-buffer-limit 4gb",
            "argument must be between 1048576 and 4294967295 inclusive",
        ),
        ("dbfilename a/b", "dbfilename can't be a path, just a filename"),
        ("dir /nowhere", "No such file or directory"),
        ("sentinel x", "sentinel directive while not in sentinel mode"),
        (
            "cluster-enabled yes",
            "'cluster-enabled' is not supported by Redstart yet: cluster mode \
                                 is not there yet",
        ),
    ] {
        assert_eq!(
            load(&format!("# first\n{line}\n")).unwrap_err(),
            format!(
                "\n*** FATAL CONFIG FILE ERROR (Redis 7.2.4) ***\n\
                 Reading the configuration file, at line 2\n>>> '{line}'\n{reason}"
            )
        );
    }
    assert_eq!(
        load("logfile /nonexistent/log").unwrap_err(),
        "\n*** FATAL CONFIG FILE ERROR (Redis 7.2.4) ***\n\
         Can't open the log file: No such file or directory"
    );
}

#[test]
fn files_include_files_and_patterns() {
    let shelf = Shelf::of(&[
        (
            "/etc/main.conf",
            "port 1\ninclude /etc/conf.d/*.conf\ninclude /none/*\ndir /data\n\
                            include local.conf\n",
        ),
        ("/etc/conf.d/10.conf", "port 2\ntimeout 2\n"),
        ("/etc/conf.d/20.conf", "timeout 3\n"),
        ("/etc/conf.d/.hidden.conf", "timeout 4\n"),
        ("/data/local.conf", "databases 5\n"),
        ("/etc/loop.conf", "include /etc/loop.conf\n"),
        ("/etc/lost.conf", "include /etc/none.conf\n"),
    ]);
    let settings = serve(&shelf, &["/etc/main.conf"], "").unwrap().settings;
    assert_eq!((settings.port, settings.timeout, settings.databases), (2, 3, 5));
    let error = serve(&shelf, &["/etc/loop.conf"], "").unwrap_err();
    assert!(error.ends_with("include is nested too deep"), "{error}");
    assert_eq!(
        serve(&shelf, &["/etc/lost.conf"], "").unwrap_err(),
        "Fatal error, can't open config file '/etc/none.conf': No such file or directory"
    );
}

#[test]
fn arguments_come_after_file_and_standard_input() {
    let shelf = Shelf::of(&[("/c", "port 1\ntimeout 1\ndatabases 1\nsave 1 1\n")]);
    let stdin = "timeout 2\ndatabases 2\nsave 2 2";
    let all = serve(&shelf, &["/c", "--databases", "3", "--save", "3", "3", "-"], stdin).unwrap();
    let settings = all.settings;
    assert_eq!((settings.port, settings.timeout, settings.databases), (1, 2, 3));
    assert_eq!(settings.save.len(), 3);
    assert_eq!(all.file.unwrap(), Path::new("/c"));
    assert!(!all.bare);

    let only = serve(&shelf, &["-", "--port", "9"], stdin).unwrap();
    assert_eq!((only.settings.port, only.settings.timeout), (9, 2));
    assert!(only.file.is_none());
    assert!(serve(&shelf, &[], "").unwrap().bare);
}

#[test]
fn arguments_have_upstreams_peculiarities() {
    let shelf = Shelf::default();
    let settings = |arguments: &[&str]| serve(&shelf, arguments, "").unwrap().settings;
    assert_eq!(settings(&["--save", "--port", "5"]).save, []);
    assert_eq!(settings(&["--port", "5", "--save"]).save, []);
    assert_eq!(settings(&["--save", ""]).save, []);
    assert_eq!(settings(&["--port", "0", "--save", "900 1"]).save.len(), 1);
    assert_eq!(settings(&["--save", "900", "1", "--save", "60", "2"]).save.len(), 2);
    assert_eq!(settings(&["--port 6380", "--databases", "2"]).port, 6380);
    assert_eq!(settings(&["--requirepass", "--port"]).requirepass, b"--port");
    let flags = ShutdownFlags { nosave: true, now: true, ..ShutdownFlags::default() };
    assert_eq!(settings(&["--shutdown-on-sigint", "nosave now"]).shutdown_on_sigint, flags);
    assert_eq!(settings(&["--Shutdown-On-Sigint", "nosave", "now"]).shutdown_on_sigint, flags);
}

#[test]
fn a_misspelt_argument_comes_with_what_was_meant() {
    let error = serve(&Shelf::default(), &["--appendfsnc", "always"], "").unwrap_err();
    assert!(
        error.ends_with(
            "at line 2\n>>> 'appendfsnc \"always\"'\n\
             Bad directive or wrong number of arguments\nDid you mean 'appendfsync'?"
        ),
        "{error}"
    );
    let error = serve(&Shelf::default(), &["--user"], "").unwrap_err();
    assert!(error.ends_with("wrong number of arguments"), "{error}");
}

#[test]
fn help_and_version_name_what_there_is() {
    let help = serve(&Shelf::default(), &["--help"], "").unwrap_err();
    for row in directives::all().filter(|row| !row.hidden) {
        assert!(help.contains(&format!("--{} ", row.name)), "{}", row.name);
    }
    let version = serve(&Shelf::default(), &["-v"], "").unwrap_err();
    assert!(version.starts_with("Redstart server v="), "{version}");
    assert!(version.contains("(Redis 7.2.4 compatible)") && version.ends_with("bits=64\n"));
}

#[test]
fn what_has_no_effect_is_said() {
    let all = serve(&Shelf::default(), &["--io-threads", "4", "--port", "7"], "").unwrap();
    assert_eq!(
        all.warnings,
        ["'io-threads' is set but has no effect: one thread reads and writes"]
    );
}

#[test]
fn get_takes_patterns_and_names() {
    let settings = Settings::default();
    let names = |patterns: &[&str]| -> Vec<String> {
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        let found = get(&settings, &patterns);
        found.into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect()
    };
    assert_eq!(names(&["MAXCLIENTS", "maxcl*", "nosuch", "x*y"]), ["MAXCLIENTS"]);
    assert_eq!(names(&["*-PRIORITY"]), ["replica-priority", "slave-priority"]);
    assert_eq!(names(&["key-load-delay"]), ["key-load-delay"]);
    assert!(names(&["key-load-*"]).is_empty());
    assert!(names(&["*"]).len() > 200);
}

#[test]
fn set_changes_all_or_nothing() {
    let mut settings = Settings::default();
    let before = settings.clone();
    let failed = |name: &str, reason: &str| {
        Err(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"))
    };
    assert_eq!(
        change(&mut settings, &[("timeout", "5"), ("maxclients", "0")]),
        failed("maxclients", "argument must be between 1 and 4294967295 inclusive")
    );
    assert_eq!(
        change(&mut settings, &[("timeout", "5"), ("Databases", "5")]),
        failed("Databases", "can't set immutable config")
    );
    assert_eq!(change(&mut settings, &[("dir", "/")]), failed("dir", "can't set protected config"));
    assert_eq!(
        change(&mut settings, &[("timeout", "5"), ("TIMEOUT", "6")]),
        failed("TIMEOUT", "duplicate parameter")
    );
    assert_eq!(
        change(&mut settings, &[("timeout", "5"), ("nosuch", "6")]),
        Err("ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'".to_owned())
    );
    assert_eq!(settings, before);

    let pairs = [("timeout", "5"), ("hz", "10"), ("slave-priority", "1"), ("save", "")];
    assert_eq!(change(&mut settings, &pairs), Ok(vec!["timeout", "replica-priority", "save"]));
    assert_eq!((settings.timeout, settings.replica_priority), (5, 1));
    assert_eq!(settings.save, []);

    let origin = Origin { local: false, loading: true };
    let pairs: &[(&[u8], &[u8])] = &[(b"appendonly", b"no")];
    assert_eq!(set(&mut settings, pairs, origin).unwrap_err(), ConfigError::Loading);
}

#[test]
fn protected_directives_follow_their_guard() {
    for (guard, local, allowed) in
        [("yes", false, true), ("local", false, false), ("local", true, true), ("no", true, false)]
    {
        let mut settings = load(&format!("enable-protected-configs {guard}")).unwrap();
        let origin = Origin { local, loading: false };
        let outcome = set(&mut settings, &[(b"dbfilename", b"x.rdb")], origin);
        assert_eq!(outcome.is_ok(), allowed, "{guard} {local}");
    }
}

#[test]
fn output_limits_change_by_class() {
    let mut settings = Settings::default();
    let name = "client-output-buffer-limit";
    assert!(change(&mut settings, &[(name, "slave 1mb 2mb 3")]).is_ok());
    assert_eq!(
        shown(&settings, name),
        "normal 0 0 0 slave 1048576 2097152 3 pubsub 33554432 8388608 60"
    );
    assert!(change(&mut settings, &[(name, "normal 1 2 3 master 1 2 3")]).is_err());
    assert!(change(&mut settings, &[(name, "normal 1 2")]).is_err());
    assert!(shown(&settings, name).starts_with("normal 0 0 0 "));
}

#[test]
fn event_classes_print_as_upstream_prints_them() {
    let mut settings = Settings::default();
    for (given, printed) in
        [("AKEnm", "AKEm"), ("g$lshzxetn", "g$lshzxetn"), ("g$lshzxetd", "A"), ("EK", "KE")]
    {
        assert!(change(&mut settings, &[("notify-keyspace-events", given)]).is_ok());
        assert_eq!(shown(&settings, "notify-keyspace-events"), printed);
    }
    assert!(change(&mut settings, &[("notify-keyspace-events", "Q")]).is_err());
}

#[test]
fn a_rewrite_keeps_what_people_wrote() {
    let old = "# my server\nPORT 1\n\n\n\ninclude /etc/more.conf\ntimeout 5 # not a comment\n\
               slave-priority 3\nsave 1 1\nsave 2 2\nport 2\nuser alice on\n\
               user default on nopass ~* &* +@all\nUSER default on\n\
               dbfilename dump.rdb\n";
    let mut settings = Settings { port: 3, maxmemory: 3 << 20, ..Settings::default() };
    settings.requirepass = b"it's \"x\"\n".to_vec();
    settings.replica_priority = 4;
    let new = String::from_utf8(rewrite(old.as_bytes(), &settings, Scope::Changed)).unwrap();
    assert_eq!(
        new,
        "# my server\nport 3\n\ninclude /etc/more.conf\ntimeout 0\nreplica-priority 4\n\
         save 3600 1 300 100 60 10000\n\nuser alice on\n\ndbfilename \"dump.rdb\"\n\n\
         # Generated by CONFIG REWRITE\nrequirepass \"it's \\\"x\\\"\\n\"\n\
         latency-tracking-info-percentiles 50 99 99.9\nappendonly yes\nmaxmemory 3mb\n"
    );
    assert_eq!(
        rewrite(new.as_bytes(), &settings, Scope::Changed),
        new.as_bytes(),
        "a second time changes nothing"
    );
}

#[test]
fn a_rewrite_puts_lines_of_no_meaning_aside() {
    let new = rewrite(
        b"bogus 1\nport \"1\n# Generated by CONFIG REWRITE\n",
        &Settings::default(),
        Scope::Changed,
    );
    let new = String::from_utf8(new).unwrap();
    assert!(new.starts_with("# ??? bogus 1\n# ??? port \"1\n# Generated by CONFIG REWRITE\n"));
    assert_eq!(new.matches("# Generated by").count(), 1);
}

/// Whatever can be set is read back from the rewritten file.
#[test]
fn a_rewritten_file_says_the_same() {
    let mut settings = Settings::default();
    let candidates = [
        "yes",
        "no",
        "0",
        "1",
        "7",
        "12345",
        "2097152",
        "a b",
        "x\"\\\u{e9}\n",
        "10%",
        "everysec",
        "debug",
        "KEA",
        "900 1 60 2",
        "normal 1 2kb 3 pubsub 4mb 5 6",
        "1 2 3",
        "now force",
        "127.0.0.1 -::1",
        "",
        "always",
        "allkeys-lru",
        "iso8601",
        "json",
        "absolute",
    ];
    let start = |row: &&directives::Directive| row.mutability != Mutability::Start;
    for round in 0..candidates.len() {
        for (index, row) in directives::all().filter(start).enumerate() {
            let candidate = candidates[(round + index) % candidates.len()];
            let _ = change(&mut settings, &[(row.name, candidate)]);
        }
        for scope in [Scope::Changed, Scope::All] {
            let new = String::from_utf8(rewrite(b"port 1\n", &settings, scope)).unwrap();
            let read = load(&new).unwrap();
            for row in directives::all() {
                let (read, meant) = (row.print(&read), row.print(&settings));
                assert_eq!(read, meant, "{} in\n{new}", row.name);
            }
        }
    }
}

#[test]
fn a_file_is_replaced_in_one_durable_step() {
    let shelf = Shelf::of(&[("/etc/redis.conf", "port 1\n")]);
    let settings = Settings { port: 2, ..Settings::default() };
    let path = Path::new("/etc/redis.conf");
    rewrite_file(&shelf, path, &settings, Scope::Changed).unwrap();
    assert!(shelf.text("/etc/redis.conf").starts_with("port 2\n"));
    assert_eq!(
        *shelf.steps.lock().unwrap(),
        [
            "append /etc/redis.conf.rewrite",
            "sync /etc/redis.conf.rewrite",
            "rename /etc/redis.conf.rewrite /etc/redis.conf",
            "sync /etc",
        ]
    );
    assert_eq!(shelf.files.lock().unwrap().len(), 1);
}
