//! The closed loop: connections that send a pipeline each time the one before is answered.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use clap::ArgMatches;
use fastrand::Rng;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::job::Job;
use crate::latency::Latencies;
use crate::reply::ReplyCounter;
use crate::request::{Keys, Pipeline, Request};
use crate::{host, number};

pub struct Connection {
    stream: TcpStream,
    counter: ReplyCounter,
    outstanding: usize,
    sent_at: Instant,
}

impl Connection {
    fn send(&mut self, pipeline: &mut Pipeline, depth: usize) -> io::Result<()> {
        self.outstanding = depth;
        self.sent_at = Instant::now();
        // Blocking: what is outstanding is one pipeline, which socket buffers can hold.
        self.stream.write_all(pipeline.renew())
    }
}

fn open(host: &str, port: u16, count: usize, epoll: &Epoll) -> io::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for index in 0..count {
        let stream = TcpStream::connect((host, port))?;
        stream.set_nodelay(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        connections.push(Connection {
            stream,
            counter: ReplyCounter::default(),
            outstanding: 0,
            sent_at: Instant::now(),
        });
    }
    Ok(connections)
}

/// The load as it's asked for, and its connections.
pub struct Load {
    pub epoll: Epoll,
    pub connections: Vec<Connection>,
    pipeline: Pipeline,
    depth: usize,
    /// Requests to send, all in all.
    count: u64,
}

impl Load {
    pub fn new(matches: &ArgMatches) -> io::Result<Self> {
        let depth = number::<u64>(matches, "pipeline") as usize;
        let command = matches.get_one::<String>("command").map_or("ping", String::as_str);
        let request = Request::new(command, number::<u64>(matches, "value-size") as usize);
        let bound = number::<u64>(matches, "keys");
        let keys = if matches.get_flag("sequential") {
            Keys::Sequential { next: 0, bound }
        } else {
            Keys::Random { random: Rng::new(), bound }
        };
        let epoll = Epoll::new(EpollCreateFlags::empty())?;
        let connections = number::<u64>(matches, "connections") as usize;
        let connections = open(host(matches), number::<u16>(matches, "port"), connections, &epoll)?;
        Ok(Self {
            epoll,
            connections,
            pipeline: Pipeline::new(&request, depth, keys),
            depth,
            count: number::<u64>(matches, "count"),
        })
    }

    /// Sends and receives until the count is reached, or the job is measured. Each latency goes to
    /// `latencies`, or to the job. Returns how many requests were answered.
    pub fn run(
        &mut self,
        mut latencies: Option<&mut Latencies>,
        mut job: Option<&mut Job>,
    ) -> io::Result<u64> {
        let mut buffer = vec![0; 64 * 1024];
        let mut events = vec![EpollEvent::empty(); 1024];
        let (mut sent, mut done) = (0, 0);
        for connection in &mut self.connections {
            if sent < self.count {
                connection.send(&mut self.pipeline, self.depth)?;
                sent += self.depth as u64;
            }
        }
        while done < sent {
            let ready = self.epoll.wait(&mut events, EpollTimeout::NONE)?;
            for event in &events[..ready] {
                let index = event.data() as usize;
                if let (Some(job), true) = (job.as_deref_mut(), index == self.connections.len()) {
                    let len = job.stream.read(&mut buffer)?;
                    job.receive(&buffer[..len])?;
                    continue;
                }
                let connection = &mut self.connections[index];
                let len = connection.stream.read(&mut buffer)?;
                if len == 0 {
                    return Err(io::Error::other("the server closed a connection"));
                }
                let replies = connection.counter.count(&buffer[..len])?;
                connection.outstanding = connection.outstanding.saturating_sub(replies);
                if replies == 0 || connection.outstanding > 0 {
                    continue;
                }
                done += self.depth as u64;
                let nanos = connection.sent_at.elapsed().as_nanos() as u64;
                if let Some(latencies) = latencies.as_deref_mut() {
                    latencies.record(nanos);
                }
                if let Some(job) = job.as_deref_mut() {
                    if job.record(nanos)? {
                        return Ok(done);
                    }
                    connection.send(&mut self.pipeline, self.depth)?;
                    sent += self.depth as u64;
                } else if sent < self.count {
                    connection.send(&mut self.pipeline, self.depth)?;
                    sent += self.depth as u64;
                }
            }
        }
        Ok(done)
    }
}
