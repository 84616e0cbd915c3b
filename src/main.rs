//! The server's binary: arguments to settings to a running server. Exit codes are decided here and
//! nowhere else.

use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

use redstart::base::disk::SystemDisk;
use redstart::base::env::Env;
use redstart::base::{crash, logging, process};
use redstart::config::arguments::{self, Configured, Invocation};
use redstart::config::{REDIS_VERSION, VERSION};
use redstart::engine::Engine;
use redstart::engine::keep::load_slices::Ready;
use redstart::engine::keep::startup::command_names;
use redstart::mailbox::Mailbox;
use redstart::server::{self, ListenError, Listeners};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc reads its options from: sizes that are powers of two come in slabs as large as those of
/// their neighbours, not one page each. A slab has 128 bytes of records beside it, which with 16 blocks
/// of 256 bytes to a slab are 8 bytes a block.
// SAFETY: the name is that of a variable which jemalloc declares weak: a pointer to a C string. A thin
// reference to bytes that end in a NUL is one.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8; 73] =
    b"slab_sizes:64-64:4|128-128:4|256-256:8|512-512:8|1024-1024:8|2048-2048:8\0";

fn main() {
    let arguments: Vec<_> = std::env::args_os().collect();
    let code =
        match arguments::configure(&arguments, &SystemDisk, &mut std::io::stdin(), command_names())
        {
            Ok(Invocation::Print(text)) => {
                print!("{text}");
                0
            }
            Ok(Invocation::Serve(configured)) => match run(*configured) {
                Ok(code) => code,
                Err(error) => {
                    eprintln!("{error}");
                    1
                }
            },
            Err(error) => {
                eprintln!("{error}");
                1
            }
        };
    // Nobody is left to tell if this fails.
    let _ = std::io::stdout().flush();
    std::process::exit(code);
}

/// From settings to the end of the server; errors are those from before there is a log.
fn run(configured: Configured) -> Result<i32, Box<dyn std::error::Error>> {
    let Configured { mut settings, file, warnings, bare } = configured;
    settings
        .enter_directory()
        .map_err(|error| format!("Can't chdir to '{}': {error}", settings.dir.display()))?;
    if settings.in_background() {
        process::daemonize()?;
    }
    let env = Env::system();
    let log = logging::init(settings.log_options(Arc::clone(&env.clock)))?;
    crash::ignore_harmless();
    crash::install(settings.crash_log_enabled);
    tracing::warn!("oO0OoO0OoO0Oo Redstart is starting oO0OoO0OoO0Oo");
    tracing::warn!(
        "Redstart version={}, Redis compatibility={}, bits=64, pid={}, just started",
        VERSION,
        REDIS_VERSION,
        std::process::id()
    );
    if bare {
        tracing::warn!(
            "Warning: no config file specified, using the default config. In order to specify a \
             config file use redstart /path/to/redis.conf"
        );
    } else {
        tracing::warn!("Configuration loaded");
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    match process::raise_file_limit(settings.maxclients) {
        Ok(fitting) => settings.maxclients = fitting,
        Err(error) => {
            tracing::error!("{error}");
            return Ok(1);
        }
    }
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_io().enable_time().build()?;
    let tasks = tokio::task::LocalSet::new();
    let pid_file = settings.pid_file().map(std::path::Path::to_owned);
    let supervisor = settings.supervisor();
    let code = tasks.block_on(&runtime, async {
        let listeners = match Listeners::open(&settings) {
            Ok(listeners) => listeners,
            // The address and the reason are told already.
            Err(ListenError::Tcp { port, .. }) => {
                tracing::error!("Failed listening on port {port} (tcp), aborting.");
                return 1;
            }
            Err(error) => {
                tracing::error!("{error}");
                return 1;
            }
        };
        process::check_backlog(settings.tcp_backlog);
        if let Some(path) = &pid_file
            && let Err(error) = process::write_pid_file(path)
        {
            tracing::warn!("Failed to write PID file: {error}");
        }
        print_banner(&settings);
        tracing::info!("Server initialized");
        let mut engine = Engine::new(env, settings, file, Rc::new(Mailbox::new()));
        engine.outside.log_handle = Some(log);
        let ready = Ready(Box::new(move |engine| {
            announce(engine);
            supervisor.ready();
        }));
        if let Err(error) = engine.begin_load(ready) {
            tracing::error!("Can't begin to load the data: {error}");
            return 1;
        }
        let (code, engine) = Box::pin(server::serve(engine, listeners)).await;
        // Freeing gigabytes one by one before the process ends would only delay that.
        std::mem::forget(engine);
        code
    });
    if let Some(path) = pid_file {
        process::remove_pid_file(&path);
    }
    Ok(code)
}

/// A redstart, seen from the side. Tools that start servers look for the PID in these lines.
fn print_banner(settings: &redstart::config::settings::Settings) {
    tracing::info!("   ___");
    tracing::info!("  ( o>     Redstart {VERSION} (Redis {REDIS_VERSION} compatible, 64 bit)");
    tracing::info!("  //\\      Running mode=standalone, port={}", settings.port);
    tracing::info!("  V_/_     PID: {}", std::process::id());
    tracing::info!("   ||");
    tracing::info!("~~~^^~~~~~~~~~~~~~");
}

fn announce(engine: &Engine) {
    if engine.settings.port != 0 {
        tracing::info!("Ready to accept connections tcp");
    }
    if !engine.settings.unixsocket.as_os_str().is_empty() {
        tracing::info!("Ready to accept connections unix");
    }
}
