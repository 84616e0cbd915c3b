//! Servers and Sentinels on fixed addresses, in network namespaces of their own where that is asked for.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::client::{Client, Value};
use crate::support::server::Program;

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_millis(500);
/// The name that Sentinel knows the group by.
pub const GROUP: &str = "mymaster";

/// Waits for a condition.
pub fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A bridge and a namespace for each node; gone when dropped.
pub struct Network {
    name: String,
    subnet: u8,
    nodes: usize,
}

fn ip(line: &str) -> bool {
    let status = Command::new("ip").args(line.split(' ')).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

impl Network {
    /// Lays it out, where the system lets us.
    pub fn lay_out(nodes: usize) -> Option<Self> {
        let number = std::process::id() % 200 + 20;
        let (name, subnet) = (format!("rs{number}"), number as u8);
        let network = Self { name, subnet, nodes };
        let name = &network.name;
        let mut lines = vec![
            format!("link add {name} type bridge"),
            format!("addr add 10.213.{subnet}.254/24 dev {name}"),
            format!("link set {name} up"),
        ];
        for index in 0..nodes {
            let (space, outer) = (network.space(index), network.cable(index));
            let address = network.address(index);
            lines.extend([
                format!("netns add {space}"),
                format!("link add {outer} type veth peer name eth0 netns {space}"),
                format!("link set {outer} master {name}"),
                format!("link set {outer} up"),
                format!("-n {space} addr add {address}/24 dev eth0"),
                format!("-n {space} link set eth0 up"),
                format!("-n {space} link set lo up"),
            ]);
        }
        lines.iter().all(|line| ip(line)).then_some(network)
    }

    fn space(&self, index: usize) -> String {
        format!("{}n{index}", self.name)
    }

    fn cable(&self, index: usize) -> String {
        format!("{}c{index}", self.name)
    }

    fn address(&self, index: usize) -> String {
        format!("10.213.{}.{}", self.subnet, index + 1)
    }

    /// Cuts a node off, or joins it again.
    pub fn join(&self, index: usize, joined: bool) {
        let state = if joined { "up" } else { "down" };
        assert!(ip(&format!("link set {} {state}", self.cable(index))));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for index in 0..self.nodes {
            ip(&format!("netns del {}", self.space(index)));
        }
        ip(&format!("link del {}", self.name));
    }
}

/// A process at an address of its own.
pub struct Node {
    program: Option<Program>,
    pub host: String,
    pub port: u16,
    space: Option<String>,
    more: Vec<String>,
    child: Option<Child>,
    dir: TempDir,
}

impl Node {
    fn new(program: Option<Program>, network: Option<&Network>, index: usize) -> Self {
        Self {
            program,
            host: network.map_or("127.0.0.1".to_owned(), |network| network.address(index)),
            port: free_port(),
            space: network.map(|network| network.space(index)),
            more: Vec::new(),
            child: None,
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// Starts the process.
    pub fn start(&mut self, more: &[&str]) {
        let log = File::create(self.dir.path().join("log")).expect("a log file");
        // Debian has redis-sentinel in a package of its own; it is the same program.
        let path = self.program.unwrap_or(Program::Redis).path();
        let mut command = match &self.space {
            Some(space) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", space]).arg(path);
                command
            }
            None => Command::new(path),
        };
        match self.program {
            Some(_) => {
                let port = self.port.to_string();
                command.args(["--port", &port, "--bind", "0.0.0.0", "--save", ""]);
                command.args(["--appendonly", "no", "--protected-mode", "no"]);
                command.args(["--repl-diskless-sync-delay", "0"]);
                command.args(["--enable-debug-command", "yes"]);
                command.args(&self.more).args(more);
            }
            None => {
                command.arg(self.dir.path().join("sentinel.conf")).arg("--sentinel");
            }
        }
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command.stderr(log.try_clone().expect("a second handle")).stdout(log);
        self.child = Some(command.spawn().expect("it starts"));
        await_that("it answers", || {
            let answer = self.connect().and_then(|mut client| client.try_call(&["PING"]));
            answer.is_ok_and(|answer| answer.text() == "PONG")
        });
    }

    /// A connection that gives up soon.
    pub fn connect(&self) -> std::io::Result<Client> {
        Client::try_connect_to(&self.host, self.port, ANSWER)
    }

    /// What a command of words answers; an empty text where nobody does.
    pub fn ask(&self, line: &str) -> Value {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = self.connect().and_then(|mut client| client.try_call(&words));
        answer.unwrap_or_else(|_| Value::bulk(""))
    }

    /// A field of INFO.
    pub fn info(&self, field: &str) -> String {
        let text = self.ask("INFO everything").text();
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    }

    /// A command executed where the node is.
    pub fn ask_inside(&self, line: &str) -> String {
        let mut command = match &self.space {
            Some(space) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", space, "redis-cli"]);
                command
            }
            None => Command::new("redis-cli"),
        };
        command.args(["-h", &self.host, "-p", &self.port.to_string()]);
        let output = command.args(line.split(' ')).output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("it runs").id() as i32;
        kill(Pid::from_raw(pid), signal).expect("a signal can be sent");
    }

    /// Kills the process and waits for its end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(25).collect();
            println!("--- {}:{}", self.host, self.port);
            tail.iter().rev().for_each(|line| println!("{line}"));
        }
    }
}

/// Three servers, three Sentinels.
pub struct Group {
    pub nodes: Vec<Node>,
    pub sentinels: Vec<Node>,
    pub network: Option<Network>,
}

impl Group {
    /// Starts a group whose first server is the primary, and waits until everybody knows everybody. One
    /// that is silent for so many milliseconds is down.
    pub fn start(
        programs: [Program; 3],
        more: &[&str],
        network: Option<Network>,
        down_after_ms: u32,
    ) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        for (index, program) in programs.into_iter().enumerate() {
            let mut node = Node::new(Some(program), network.as_ref(), index);
            node.more = more.iter().map(|word| (*word).to_owned()).collect();
            match nodes.first() {
                None => node.start(&[]),
                Some(primary) => node.start(&follow(program, primary)),
            }
            nodes.push(node);
        }
        let mut sentinels = Vec::new();
        for index in 0..3 {
            let mut node = Node::new(None, network.as_ref(), index);
            let mut text = format!("port {}\nprotected-mode no\n", node.port);
            let (host, port) = (&nodes[0].host, nodes[0].port);
            for line in [
                format!("monitor {GROUP} {host} {port} 2"),
                format!("down-after-milliseconds {GROUP} {down_after_ms}"),
                format!("failover-timeout {GROUP} 1500"),
                format!("parallel-syncs {GROUP} 2"),
            ] {
                let _ = writeln!(text, "sentinel {line}");
            }
            fs::write(node.dir.path().join("sentinel.conf"), text).expect("a configuration file");
            node.start(&[]);
            sentinels.push(node);
        }
        let group = Self { nodes, sentinels, network };
        group.await_known();
        group.await_settled();
        group
    }

    /// Waits until each Sentinel knows the others and both replicas.
    fn await_known(&self) {
        for sentinel in &self.sentinels {
            await_that("the Sentinels know the group", || {
                let told = sentinel.ask(&format!("SENTINEL MASTER {GROUP}"));
                let is = |field: &str| told.field(field).is_some_and(|value| value.text() == "2");
                is("num-slaves") && is("num-other-sentinels")
            });
        }
    }

    /// The primary as the Sentinels name it, where two of them agree.
    pub fn primary(&self) -> Option<usize> {
        let named = self.sentinels.iter().filter_map(named_primary);
        let named: Vec<(String, u16)> = named.collect();
        let agreed = named.iter().find(|one| named.iter().filter(|two| two == one).count() >= 2)?;
        self.nodes.iter().position(|node| node.host == agreed.0 && node.port == agreed.1)
    }

    /// Waits until the Sentinels' primary is that of all others, and all Sentinels are done with failing
    /// over. A busy machine may see another failover on the way.
    ///
    /// A Sentinel whose promoted replica dies before the others are known to follow it stays with that one,
    /// and tells its address under the epoch of the next failover, which it took from elsewhere: another
    /// Sentinel that hears this first believes it for good, and the two outvote the third.
    pub fn await_settled(&self) {
        await_that("everybody follows the primary", || {
            if self.sentinels.iter().any(is_failing_over) {
                return false;
            }
            let Some(primary) = self.primary() else { return false };
            let node = &self.nodes[primary];
            let followed = (0..self.nodes.len()).filter(|index| *index != primary).all(|index| {
                let replica = &self.nodes[index];
                replica.info("role") == "slave"
                    && replica.info("master_port") == node.port.to_string()
                    && replica.info("master_link_status") == "up"
            });
            followed && node.info("role") == "master"
        });
    }

    /// Waits until all nodes have the same data.
    pub fn assert_equal(&self) {
        await_that("all have the same data", || {
            let digests: Vec<String> =
                self.nodes.iter().map(|node| node.ask("DEBUG DIGEST").text()).collect();
            !digests[0].is_empty() && digests.iter().all(|digest| *digest == digests[0])
        });
    }
}

/// Whether a Sentinel leads a failover that has no end yet, or doesn't answer.
fn is_failing_over(sentinel: &Node) -> bool {
    let told = sentinel.ask(&format!("SENTINEL MASTER {GROUP}"));
    told.field("flags").is_none_or(|flags| flags.text().contains("failover_in_progress"))
}

/// What a Sentinel says who the primary is.
pub fn named_primary(sentinel: &Node) -> Option<(String, u16)> {
    let told = sentinel.ask(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {GROUP}")).elements();
    Some((told.first()?.text(), told.get(1)?.text().parse().ok()?))
}

/// The directives with which a server follows another from its start.
pub fn follow(program: Program, primary: &Node) -> Vec<&'static str> {
    let words = if program == Program::Redstart {
        vec!["--replicaof".to_owned(), format!("{} {}", primary.host, primary.port)]
    } else {
        vec!["--replicaof".to_owned(), primary.host.clone(), primary.port.to_string()]
    };
    // A test's few words may stay until it ends.
    words.into_iter().map(|word| &*word.leak()).collect()
}
