//! The server's binary: arguments to settings to a running server. Exit codes are decided here and
//! nowhere else.

use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

use redstart::base::disk::SystemDisk;
use redstart::base::env::{Env, Rng, Stopwatch, SystemClock};
use redstart::config::arguments::{self, Configured, Invocation};
use redstart::engine::Engine;
use redstart::mailbox::Mailbox;
use redstart::server::{self, Listeners};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let arguments: Vec<_> = std::env::args_os().collect();
    let disk = SystemDisk;
    let code = match arguments::configure(&arguments, &disk, &mut std::io::stdin()) {
        Ok(Invocation::Print(text)) => {
            print!("{text}");
            0
        }
        Ok(Invocation::Serve(configured)) => run(*configured),
        Err(error) => {
            eprintln!("{error}");
            1
        }
    };
    let _ = std::io::stdout().flush();
    std::process::exit(code);
}

fn run(configured: Configured) -> i32 {
    let env = Env {
        clock: Arc::new(SystemClock::default()),
        stopwatch: Stopwatch::default(),
        disk: Arc::new(SystemDisk),
        threads: true,
        seed: Rng::from_os().next_u64(),
    };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = match builder.enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("Can't start the runtime: {error}");
            return 1;
        }
    };
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let listeners = match Listeners::open(&configured.settings) {
            Ok(listeners) => listeners,
            Err(error) => {
                eprintln!("{error}");
                return 1;
            }
        };
        let mailbox = Rc::new(Mailbox::new());
        let engine = Engine::new(env, configured.settings, configured.file, mailbox);
        let (code, _engine) = server::serve(engine, listeners).await;
        code
    })
}
